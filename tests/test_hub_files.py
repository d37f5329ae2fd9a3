"""
.runpod/hub.json and tests.json have the documented form, and every input of tests.json succeeds in a real worker.

The form is RunPod's "Hub publishing guide" (docs, hub/publishing-guide.mdx, 2026-08-20), table by table.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self

import pytest
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, ValidationError, model_validator

from fakes.runpod import RunPod
from fakes.worker_process import WorkerProcess
from wanworker.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parent.parent
HUB, TESTS = ROOT / ".runpod" / "hub.json", ROOT / ".runpod" / "tests.json"

#: The guide's pools ("GPU pools", references/gpu-types.mdx), and the RTX 5090's, which that table forgets and
#: flash/configuration/gpu-types.mdx has.
POOLS = {"AMPERE_16", "AMPERE_24", "ADA_24", "AMPERE_48", "ADA_48_PRO", "AMPERE_80", "ADA_80_PRO", "HOPPER_141",
         "ADA_32_PRO"}  # fmt: skip

CudaVersion = Field(pattern=r"^\d+\.\d+$")


class Form(BaseModel):
    """A table of the guide: nothing in it is left out, and nothing is in the file that is not in it."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Option(Form):
    label: str
    value: str


class Input(Form):
    name: str
    type: Literal["string", "number", "boolean", "huggingface"]
    description: str
    default: str | int | float | bool | None = None
    required: bool = False
    advanced: bool = False
    options: list[Option] | None = None
    min: int | float | None = None
    max: int | float | None = None
    trueValue: str | None = None  # noqa: N815 - the guide's own name
    falseValue: str | None = None  # noqa: N815 - likewise

    @model_validator(mode="after")
    def _fits_its_type(self) -> Self:
        kinds = {"string": str, "huggingface": str, "boolean": bool, "number": int | float}
        assert isinstance(self.default, kinds[self.type]), self.name
        assert self.type == "string" or self.options is None
        assert self.type == "number" or (self.min, self.max) == (None, None)
        assert self.type == "boolean" or (self.trueValue, self.falseValue) == (None, None)
        assert self.options is None or self.default in [option.value for option in self.options]
        return self


class Variable(Form):
    key: str = Field(pattern=r"^[A-Z][A-Z0-9_]*$")
    value: str | None = None
    input: Input | None = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        assert (self.value is None) != (self.input is None), self.key
        return self


class Preset(Form):
    name: str
    defaults: dict[str, str | int | float | bool]


class HubConfig(Form):
    runsOn: Literal["GPU"]  # noqa: N815 - the guide's own name, as all that follow
    containerDiskInGb: int = Field(gt=0)  # noqa: N815
    gpuCount: int = Field(ge=1)  # noqa: N815
    gpuIds: str  # noqa: N815
    endpointType: Literal["LB"] | None = None  # noqa: N815
    allowedCudaVersions: list[str] | None = None  # noqa: N815
    env: list[Variable] = []
    presets: list[Preset] = []


class Hub(Form):
    title: str
    description: str
    type: Literal["serverless"]
    category: Literal["audio", "embedding", "language", "video", "image"]
    iconUrl: HttpUrl | None = None  # noqa: N815
    config: HubConfig


class HubTest(Form):
    name: str
    input: dict[str, Any]
    timeout: int | None = Field(default=None, gt=0)


class Static(Form):
    key: str
    value: str


class TestConfig(Form):
    __test__ = False

    gpuTypeId: str  # noqa: N815
    gpuCount: int = Field(ge=1)  # noqa: N815
    env: list[Static] = []
    allowedCudaVersions: list[str] | None = None  # noqa: N815


class HubTests(Form):
    tests: list[HubTest] = Field(min_length=1)
    config: TestConfig


def hub() -> Hub:
    return Hub.model_validate_json(HUB.read_text())


def hub_tests() -> HubTests:
    return HubTests.model_validate_json(TESTS.read_text())


def as_environment(variable: Variable, value: object) -> str:
    """Return what the container gets for *value* of the console's form."""
    if isinstance(value, bool):
        assert variable.input is not None
        return str(variable.input.trueValue if value else variable.input.falseValue)
    return str(value)


def test_hub_json_has_the_documented_form_and_the_hub_finds_what_it_wants() -> None:
    page = hub()

    assert "video" == page.category
    assert all((ROOT / name).is_file() for name in ("handler.py", "Dockerfile", "README.md"))


def test_tests_json_has_the_documented_form_and_names_each_test_once() -> None:
    names = [test.name for test in hub_tests().tests]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"category": "movies"}, "category"),
        ({"config": {"runsOn": "GPU"}}, "containerDiskInGb"),
        ({"cover": "x.png"}, "cover"),
    ],
    ids=["no such category", "field left out", "no such field"],
)
def test_another_form_is_found(change: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        Hub.model_validate(json.loads(HUB.read_text()) | change)


def test_the_gpus_are_known_pools_with_32_and_80_gb_among_them() -> None:
    pools = set(hub().config.gpuIds.split(","))

    assert pools <= POOLS
    assert {"ADA_32_PRO", "AMPERE_80", "ADA_80_PRO"} <= pools


def test_both_files_ask_for_the_cuda_of_the_image_and_newer() -> None:
    # A list that fits no host leaves the Hub's tests waiting for ever.
    versions = hub().config.allowedCudaVersions

    assert versions == hub_tests().config.allowedCudaVersions
    assert versions is not None
    assert "13.0" == versions[0]
    assert "nvidia/cuda:13.0." in (ROOT / "Dockerfile").read_text()


def test_the_form_asks_for_variables_that_the_worker_reads_with_defaults_that_it_takes() -> None:
    known = {field.validation_alias for field in Settings.model_fields.values()}
    variables = hub().config.env

    assert {variable.key for variable in variables} <= known
    load_settings(
        {variable.key: as_environment(variable, variable.input.default) for variable in variables if variable.input}
    )


def test_each_option_and_each_end_of_a_range_is_a_value_that_the_worker_takes() -> None:
    for variable in hub().config.env:
        assert variable.input is not None
        options = [option.value for option in variable.input.options or []]
        ends = [end for end in (variable.input.min, variable.input.max) if end is not None]
        switch = [value for value in (variable.input.trueValue, variable.input.falseValue) if value is not None]
        for value in (*options, *ends, *switch):
            load_settings({variable.key: str(value)})


def test_presets_are_for_both_kinds_of_card_and_set_what_the_form_shows() -> None:
    variables = {variable.key: variable for variable in hub().config.env}
    presets = hub().config.presets

    assert ["32 GB", "80 GB"] == [preset.name[:5] for preset in presets]
    for preset in presets:
        assert preset.defaults.keys() <= variables.keys()
        load_settings({key: as_environment(variables[key], value) for key, value in preset.defaults.items()})


@pytest.mark.slow
def test_the_hubs_tests_need_no_weights_and_succeed_in_a_real_worker(tmp_path: Path) -> None:
    # As the Hub runs them: the handler takes them from a queue one after the other, with nothing on the disk.
    environment = {variable.key: variable.value for variable in hub_tests().config.env}
    with RunPod() as plane, WorkerProcess(plane, tmp_path, environment=environment):
        jobs = {
            test.name: plane.wait_for_job(plane.submit(test.input), timeout_s=(test.timeout or 0) / 1000)
            for test in hub_tests().tests
        }

    videos = [job.output for name, job in jobs.items() if "video" in name]
    assert dict.fromkeys(jobs, "COMPLETED") == {name: job.status for name, job in jobs.items()}
    assert [("mini-wan", 17)] * 2 == [(video["model"], video["video"]["frames"]) for video in videos]
