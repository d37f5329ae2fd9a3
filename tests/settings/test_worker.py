from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from wanworker.settings import BadSettings, Settings, child_environment, in_runpod_worker, load_settings
from wanworker.settings._worker import Preloaded
from wanworker.spec import TASKS
from wanworker.text import secrets

MakeSettings = Callable[..., Settings]


def test_the_defaults_hold_without_any_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    settings = load_settings()

    assert ("auto", True, 3600, None) == (
        settings.engine, settings.mini, settings.job_timeout_s, settings.max_answer_bytes
    )  # fmt: skip
    assert Path("/workspace/Wan2.2") == settings.wan_home
    assert "http://127.0.0.1:8188" == settings.comfyui_base_url
    assert ((), ()) == (settings.allow_hosts, settings.input_dirs)
    assert settings.ckpt_dir.parent == settings.out_dir.parent


def test_nothing_is_made_by_reading_settings(settings: Settings) -> None:
    assert not settings.out_dir.exists()
    assert not settings.ckpt_dir.exists()


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("WAN_HOME", "/opt/Wan2.2", "wan_home", Path("/opt/Wan2.2")),
        ("WAN_ENGINE", "mini", "engine", "mini"),
        ("WAN_MINI", "off", "mini", False),
        ("WAN_MINI", "0", "mini", False),
        ("WAN_ALLOW_HOSTS", " NAS.local, 10.0.0.5 ,", "allow_hosts", ("nas.local", "10.0.0.5")),
        ("WAN_INPUT_DIRS", "/data/in,/data/more", "input_dirs", (Path("/data/in"), Path("/data/more"))),
        ("JOB_TIMEOUT_S", "90.5", "job_timeout_s", 90.5),
        ("MAX_ANSWER_BYTES", "100000", "max_answer_bytes", 100_000),
        ("COMFYUI_PORT", "65535", "comfyui_port", 65_535),
        ("WAN_ENGINE", "", "engine", "auto"),
        ("WAN_PRELOAD", " comfyui, t2v-A14B ,t2v-A14B,", "preload", ("comfyui", "t2v-A14B")),
        ("WAN_PRELOAD", " , ", "preload", ()),
    ],
)
def test_a_variable_sets_its_field(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, field: str, expected: object
) -> None:
    monkeypatch.setenv(name, value)

    assert expected == getattr(load_settings(), field)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WAN_ENGINE", "fastest"),
        ("WAN_MINI", "perhaps"),
        ("JOB_TIMEOUT_S", "0"),
        ("JOB_TIMEOUT_S", "86401"),
        ("JOB_TIMEOUT_S", "soon"),
        ("JOB_TIMEOUT_S", "nan"),
        ("JOB_TIMEOUT_S", "inf"),
        ("MAX_ANSWER_BYTES", "99999"),
        ("COMFYUI_PORT", "65536"),
        ("WAN_PRELOAD", "t2v-A14B,mini"),
        ("WAN_PRELOAD", "T2V-A14B"),
    ],
)
def test_a_bad_value_stops_the_worker_and_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(BadSettings, match=rf"^{name}(\.\d)?: "):
        load_settings()


def test_every_task_can_be_preloaded_and_comfyui_too() -> None:
    assert (*TASKS, "comfyui") == get_args(Preloaded)


def test_every_bad_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAN_ENGINE", "fastest")
    monkeypatch.setenv("COMFYUI_PORT", "many")

    with pytest.raises(BadSettings, match=r"WAN_ENGINE: .*; COMFYUI_PORT: "):
        load_settings()


def test_a_bad_value_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKET_SECRET_ACCESS_KEY", "s3cr3t-key")
    monkeypatch.setenv("COMFYUI_PORT", "s3cr3t-port")

    with pytest.raises(BadSettings) as caught:
        load_settings()

    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_secrets_stay_out_of_the_text_of_settings(make_settings: MakeSettings) -> None:
    settings = make_settings(bucket_access_key_id="s3cr3t-id", bucket_secret_access_key="s3cr3t-key")

    assert "s3cr3t" not in repr(settings)
    assert "s3cr3t" not in str(settings.model_dump())
    assert "s3cr3t" not in settings.model_dump_json()


def test_settings_do_not_change(settings: Settings) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings.engine = "mini"  # type: ignore[misc]


def test_a_dotenv_file_lying_about_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("WAN_ENGINE=mini\n")
    monkeypatch.chdir(tmp_path)

    assert "auto" == load_settings().engine


def test_a_comfyui_url_overrides_host_and_port(make_settings: MakeSettings) -> None:
    settings = make_settings(comfyui_url="https://comfy.example/", comfyui_host="h", comfyui_port=1)

    assert "https://comfy.example" == settings.comfyui_base_url
    assert "http://h:1" == make_settings(comfyui_host="h", comfyui_port=1).comfyui_base_url


def test_records_are_kept_beside_the_videos(make_settings: MakeSettings, tmp_path: Path) -> None:
    assert tmp_path / "o" / "jobs" == make_settings(out_dir=tmp_path / "o").jobs_dir


def test_the_models_folder_is_searched_first_and_no_folder_twice(make_settings: MakeSettings) -> None:
    dirs = make_settings(ckpt_dir=Path("/runpod-volume/models")).model_dirs

    assert (Path("/runpod-volume/models"), Path("/workspace/models"), Path("/runpod-volume")) == dirs[:3]


def test_hugging_faces_cache_is_searched_last_where_its_own_variables_say(make_settings: MakeSettings) -> None:
    runpods = Path("/runpod-volume/huggingface-cache/hub")

    assert (runpods, Path.home() / ".cache/huggingface/hub") == make_settings().model_dirs[-2:]
    assert (runpods, Path("/data/hf/hub")) == make_settings(hf_home=Path("/data/hf")).model_dirs[-2:]
    assert (runpods, Path("/hub")) == make_settings(hf_home=Path("/data"), hf_hub_cache=Path("/hub")).hub_cache_dirs
    assert (runpods,) == make_settings(hf_hub_cache=runpods).hub_cache_dirs


def test_path_inputs_come_from_the_named_folders_alone(make_settings: MakeSettings) -> None:
    assert (Path("/data"),) == make_settings(input_dirs="/data").input_roots
    assert ("inputs",) == tuple(root.name for root in make_settings().input_roots)


def test_upstreams_own_interpreter_is_used_where_there_is_one(make_settings: MakeSettings, tmp_path: Path) -> None:
    own = tmp_path / "Wan2.2" / ".venv" / "bin" / "python"
    without = make_settings().wan_interpreter
    own.parent.mkdir(parents=True)
    own.touch()

    assert Path(sys.executable) == without
    assert own == make_settings().wan_interpreter
    assert Path("/opt/python") == make_settings(wan_python=Path("/opt/python")).wan_interpreter


def test_a_child_process_sees_paths_and_caches_but_no_secret() -> None:
    kept = {"PATH": "/bin", "HOME": "/root", "HF_HOME": "/cache", "CUDA_VISIBLE_DEVICES": "0", "OMP_NUM_THREADS": "1"}
    secrets = {
        "RUNPOD_API_KEY": "s", "RUNPOD_AI_API_KEY": "s", "HF_TOKEN": "s", "BUCKET_SECRET_ACCESS_KEY": "s",
        "AWS_SECRET_ACCESS_KEY": "s", "WAN_API_KEY": "s", "COMFYUI_TOKEN": "s", "WEBHOOK_SECRET": "s",
        "SOME_PASSWORD": "s",
    }  # fmt: skip

    seen = child_environment({**kept, **secrets})

    assert kept.items() <= seen.items()
    assert {"PYTHONPATH", "PYTHONUNBUFFERED"} == seen.keys() - kept.keys()


def test_a_child_process_finds_this_package_before_its_own_paths() -> None:
    import wanworker

    ours = str(Path(wanworker.__file__).parent.parent)

    assert f"{ours}:/mine" == child_environment({"PYTHONPATH": f"/mine:{ours}:"})["PYTHONPATH"]


def test_runpods_control_plane_is_known_by_its_variable() -> None:
    assert in_runpod_worker({"RUNPOD_WEBHOOK_GET_JOB": "https://host/job-take/$ID"})
    assert not in_runpod_worker({"RUNPOD_POD_ID": "a pod, not serverless"})


def test_the_secrets_of_the_settings_are_blotted_out_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_known", set())
    load_settings(
        {"COMFYUI_TOKEN": "opensesame1", "HF_TOKEN": "opensesame2", "BUCKET_SECRET_ACCESS_KEY": "opensesame3"}
    )

    assert "*** *** ***" == secrets.without_secrets("opensesame1 opensesame2 opensesame3")
