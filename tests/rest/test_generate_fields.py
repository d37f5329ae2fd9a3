"""What POST /generate asks of the finished clip reaches the action, and is refused where the action would refuse it."""

from __future__ import annotations

import json

import pytest

from wanworker.actions.generate.render_request import asked_of
from wanworker.actions.generate.request import GenerateRequest
from wanworker.actions.request.fields import parse
from wanworker.errors import InvalidRequest
from wanworker.recipes.table import STEP_LORAS
from wanworker.rest.schemas.generate import GenerateBody, generate_fields, with_engine_defaults
from wanworker.spec import Lora


def asked(**fields: object) -> dict[str, object]:
    body, _ = parse(GenerateBody, {"prompt": "a star", **fields})
    return generate_fields(body, body.resolved([]))


def test_the_finished_clip_is_asked_of_the_action() -> None:
    request = GenerateRequest.model_validate(
        asked(target_fps=60, upscale=2, soundtrack_url="https://example.com/tune.mp3")
    )

    assert (60, (2, None)) == (request.target_fps, request.checked_upscale())
    assert "https://example.com/tune.mp3" == request.soundtrack_url


def test_a_wrong_factor_is_refused_before_the_job_is_queued() -> None:
    with pytest.raises(InvalidRequest, match=r"^upscale must be 2, 4 or the name of an upscale model; got"):
        asked_of(GenerateRequest.model_validate(asked(upscale=3)))


def test_what_is_left_out_is_left_out_of_the_action() -> None:
    assert {"target_fps", "upscale", "soundtrack_url"}.isdisjoint(asked())


LISTS = {
    "loras": [{"high": "a-high", "low": "a-low", "scale": 0.5}, "b"],
    "high_noise_loras": ["c"],
    "low_noise_loras": [{"path": "d", "scale": 2}],
}


@pytest.mark.parametrize("as_text", [False, True])
def test_loras_mean_what_they_mean_in_the_action_also_as_the_text_of_a_form(as_text: bool) -> None:
    sent = {name: json.dumps(entries) if as_text else entries for name, entries in LISTS.items()}
    kept = json.loads(json.dumps(asked(**sent)))
    request, warnings = parse(GenerateRequest, kept)

    assert () == tuple(warnings)
    assert parse(GenerateRequest, LISTS)[0].checked_loras() == request.checked_loras()
    assert [0.5, 1.0, 1.0, 2.0] == [
        lora.low_strength if lora.high is None else lora.high_strength for lora in request.checked_loras()
    ]


def test_one_name_is_a_lora_and_broken_text_is_refused() -> None:
    assert (Lora("a", None),) == parse(GenerateRequest, asked(loras="a"))[0].checked_loras()
    for broken in ("[", '{"high"', "[" * 9999, "[" * 150 + "]" * 150):
        with pytest.raises(InvalidRequest, match=r"^loras (cannot be read as JSON|is nested too deeply)"):
            asked(loras=broken)


def test_a_lora_by_url_is_refused_before_the_job_is_queued() -> None:
    with pytest.raises(InvalidRequest, match=r"^high_noise_loras: a LoRA is named by its file"):
        asked_of(parse(GenerateRequest, asked(high_noise_loras=["https://example.com/a"]))[0])


def test_fastwans_own_lora_stays_beside_those_of_the_request() -> None:
    fields, _ = with_engine_defaults(asked(loras=["style"]), [], is_fastwan=True)
    style, own = parse(GenerateRequest, fields)[0].checked_loras()

    assert (STEP_LORAS["ti2v-5B"], "style") == (own, style.high)
    assert "loras" not in with_engine_defaults(asked(), [], is_fastwan=True)[0]


def test_fastwan_takes_as_many_loras_as_any_model() -> None:
    fields, _ = with_engine_defaults(asked(loras=[f"style-{n}" for n in range(8)]), [], is_fastwan=True)

    assert 8 + 1 == len(parse(GenerateRequest, fields)[0].checked_loras())


@pytest.mark.parametrize("is_fastwan", [True, False])
def test_a_negative_prompt_is_called_vain_only_where_nothing_computes_it(is_fastwan: bool) -> None:
    sent = {"prompt": "x", "negative_prompt": "y"}
    resolved_remarks: list[str] = []
    body = parse(GenerateBody, sent)[0]
    fields = generate_fields(body, body.resolved(resolved_remarks))
    _, remarks = with_engine_defaults(fields, body.left_out(), is_fastwan=is_fastwan)

    assert is_fastwan == any("negative_prompt" in line for line in [*resolved_remarks, *remarks])
    body = parse(GenerateBody, {**sent, "cfg": 1})[0]
    body.resolved(resolved_remarks)
    assert 1 == sum("negative_prompt" in line for line in resolved_remarks)
    assert not any("negative" in line for line in with_engine_defaults(fields, [], is_fastwan=is_fastwan)[1])
