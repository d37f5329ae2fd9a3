"""
Every example of the worker document about generate, status, health and errors, end to end.

The door and the core are the real ones; generate.py is a fake that takes upstream's flags and prints what upstream
prints. The documents' hosts are the only thing that is changed: example.com is a server on loopback.
"""

import base64
import io
import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from door import ask, contains
from fakes.files import file_server
from fakes.pictures import png_bomb
from fakes.recordings import film, sound
from fakes.wan.home import make_home
from wanworker.app import Worker
from wanworker.media.video.writer import decode_check

EXAMPLES = json.loads((Path(__file__).parent / "documents" / "worker_api.json").read_text())


def png(width=160, height=90):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 60, 20)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
async def files():
    async with file_server() as server:
        server.files |= {"image.png": png(), "portrait.jpg": png(90, 160), "notes.txt": b"not a picture, but words"}
        yield server


@pytest.fixture
async def make_worker(tmp_path, make_settings):
    workers = []

    def make(behaviour="ok", **fields):
        home, models = make_home(tmp_path, behaviour, tasks=fields.pop("tasks", ("i2v-A14B", "t2v-A14B")))
        defaults = {"wan_home": home, "ckpt_dir": models, "wan_python": sys.executable, "engine": "wan_cli"}
        workers.append(Worker(make_settings(**{**defaults, "allow_hosts": ("127.0.0.1",), **fields})))
        return workers[-1]

    yield make
    for worker in workers:
        await worker.close()


def example(name, files, **changes):
    """Return the documented request with example.com replaced by the loopback server."""
    text = json.dumps(EXAMPLES[name]["request"]).replace("https://example.com/", files.url("/files/"))
    job = json.loads(text)
    return {**job, "input": {**job["input"], **changes}}


async def video_in(answer, tmp_path):
    prefix, _, text = answer["result"]["data"].partition(",")
    assert prefix == "data:video/mp4;base64"
    path = tmp_path / "received.mp4"
    path.write_bytes(base64.b64decode(text, validate=True))
    return await decode_check(path)


async def test_health_has_the_documented_keys(make_worker):
    answer, _ = await ask(make_worker(), EXAMPLES["health"]["request"])

    contains(answer, EXAMPLES["health"]["answer"])
    assert (answer["ok"], answer["comfyui_status"]) == (True, "offline")


async def test_health_answers_from_kept_facts_and_looks_again_when_asked(make_worker, tmp_path):
    worker = make_worker(mini=False)
    first, _ = await ask(worker, {"input": {"health": True}})
    (tmp_path / "Wan2.2" / "generate.py").unlink()
    kept, _ = await ask(worker, {"input": {"action": "health"}})
    fresh, _ = await ask(worker, {"input": {"health": True, "refresh": True}})

    assert kept["engines"] == first["engines"]
    assert "generate.py" in fresh["engines"]["wan_cli"]["i2v-A14B"]


async def test_the_generate_example_renders_its_picture(make_worker, files, tmp_path):
    answer, progress = await ask(make_worker(), example("generate", files))

    facts = await video_in(answer, tmp_path)
    contains(answer, EXAMPLES["generate"]["answer"])
    assert answer["request_id"] == "sync-1234"
    assert answer["status"]["status"] == "COMPLETED"
    assert answer["result"]["filename"] == "sync-1234.mp4"
    assert (facts.width, facts.height, facts.frames) == (1280, 720, 17)
    assert (answer["seed"], answer["engine"], answer["video"]["frames"]) == (42, "wan_cli", 17)
    assert any("frame_num 16 was changed to 17" in line for line in answer["warnings"])
    assert any(line.startswith("use_lora was ignored") for line in answer["warnings"])
    assert [shown["progress"] for shown in progress] == sorted(shown["progress"] for shown in progress)
    assert progress[0]["status"] == "RUNNING"


async def test_the_documents_own_python_reads_the_video(make_worker, files, tmp_path):
    """Example 1 forgets that RunPod wraps answers in `output`; with that, its lines work as written."""
    result, _ = await ask(make_worker(), example("example_1_high_quality_i2v", files))
    video_data = {"output": result}["output"]["result"]["data"].split(",")[1]
    (tmp_path / "output.mp4").write_bytes(base64.b64decode(video_data))
    facts = await decode_check(tmp_path / "output.mp4")

    contains(result, EXAMPLES["example_1_high_quality_i2v"]["answer"])
    assert facts.frames == 33


async def test_the_status_example_answers_for_a_finished_job(make_worker, files, tmp_path):
    worker = make_worker()
    await ask(worker, example("generate", files, request_id="uuid-here"))
    answer, _ = await ask(worker, EXAMPLES["status"]["request"], job_id="another-job")

    contains(answer, EXAMPLES["status"]["answer"])
    assert (await video_in(answer, tmp_path)).frames == 17


async def test_a_job_is_found_by_its_runpod_id_too(make_worker, files):
    worker = make_worker()
    await ask(worker, example("generate", files, request_id="mine"), job_id="runpod-id-u1")
    by_runpod_id, _ = await ask(worker, {"input": {"action": "status", "request_id": "runpod-id-u1"}})

    assert (by_runpod_id["request_id"], by_runpod_id["status"]["status"]) == ("mine", "COMPLETED")


async def test_the_same_request_again_is_answered_without_rendering(make_worker, files):
    worker = make_worker()
    first, _ = await ask(worker, example("generate", files, request_id="twice", return_video=False))
    second, _ = await ask(worker, example("generate", files, request_id="twice", return_video=False))

    assert second["status"] == first["status"]
    assert "data" not in second["result"]


@pytest.mark.parametrize(
    ("behaviour", "status", "code", "word"),
    [
        ("fails", "ERROR", "ENGINE_FAILED", ""),
        ("out_of_memory", "ERROR", "OUT_OF_MEMORY", "memory"),
        ("killed", "ERROR", "OUT_OF_MEMORY", "memory"),
        ("no_output", "NO_OUTPUT", "NO_OUTPUT", ""),
        ("half_file", "NO_OUTPUT", "NO_OUTPUT", ""),
        ("missing_dependency", "ERROR", "ENGINE_UNAVAILABLE", "decord"),
        ("no_flash_attn", "ERROR", "ENGINE_UNAVAILABLE", "flash"),
    ],
)
async def test_a_failed_job_is_a_documented_error_now_and_in_its_status(
    make_worker, files, behaviour, status, code, word
):
    worker = make_worker(behaviour)
    failed, _ = await ask(worker, example("generate", files, request_id="broken"))
    later, _ = await ask(worker, {"input": {"action": "status", "request_id": "broken"}})

    contains(failed, EXAMPLES["error"]["answer"])
    assert (failed["status"], failed["code"]) == (status, code)
    assert word.lower() in (failed["error"] + failed["hint"]).lower()
    assert "Traceback" not in failed["error"]
    assert "error" not in later
    assert (later["status"]["status"], later["status"]["error"]) == (status, failed["error"])
    assert status in EXAMPLES["status_codes"]


async def test_a_job_past_its_deadline_is_a_timeout(make_worker, files):
    answer, _ = await ask(make_worker("hangs"), example("generate", files, timeout=1))

    assert answer["status"] == "TIMEOUT"
    assert answer["error"] == EXAMPLES["timeout"]["answer"]["error"].replace("600", "1")


async def test_a_missing_image_is_the_documented_sentence(make_worker):
    answer, progress = await ask(make_worker(), {"input": {"action": "generate", "task": "i2v-A14B", "prompt": "x"}})

    assert answer["error"] == EXAMPLES["missing_image"]["answer"]["error"]
    assert (answer["status"], answer["code"], progress) == ("ERROR", "INVALID_REQUEST", [])


async def test_a_missing_model_is_the_documented_sentence(make_worker, settings, tmp_path):
    worker = make_worker(tasks=(), mini=False, engine="auto")
    answer, _ = await ask(worker, {"input": {"task": "t2v-A14B", "prompt": "a cat"}})

    documented = EXAMPLES["model_not_found"]["answer"]["error"]
    ours = documented.replace("xyz.safetensors", "Wan2.2-T2V-A14B").replace("/workspace/models", str(settings.ckpt_dir))
    assert (answer["error"], answer["code"]) == (ours, "MODEL_NOT_FOUND")


def files_below(folder):
    return sorted(str(path) for path in folder.rglob("*") if path.is_file())


BAD_INPUTS = {
    "no object": ("a cat", "INVALID_REQUEST", "object"),
    "unknown action": ({"action": "dance"}, "UNKNOWN_ACTION", "known: comfyui_i2v, "),
    "nothing asked": ({}, "UNKNOWN_ACTION", "names no action"),
    "unknown task": ({"prompt": "x", "task": "t2v"}, "INVALID_REQUEST", "known: t2v-A14B"),
    "impossible size": ({"prompt": "x", "task": "t2v-A14B", "size": "640*640"}, "INVALID_REQUEST", "1280*720"),
    "size out of range": ({"prompt": "x", "task": "t2v-A14B", "size": "9000*9"}, "INVALID_REQUEST", "64 and 2048"),
    "no frames": ({"prompt": "x", "task": "t2v-A14B", "frame_num": 0}, "INVALID_REQUEST", "between 1 and 1201"),
    "seed": ({"prompt": "x", "task": "t2v-A14B", "seed": "soon"}, "INVALID_REQUEST", "seed"),
    "request id": ({"prompt": "x", "task": "t2v-A14B", "request_id": "../x"}, "INVALID_REQUEST", "request_id"),
    "engine": ({"prompt": "x", "task": "t2v-A14B", "engine": "warp"}, "INVALID_REQUEST", "known: auto"),
    "broken base64": ({"image_base64": "data:image/png;base64,@@@"}, "INPUT_UNAVAILABLE", "base64"),
    "text as base64": ({"image_base64": base64.b64encode(b"words, words").decode()}, "INPUT_UNAVAILABLE", "text"),
    "text file": ({"image_url": "FILES/notes.txt"}, "INPUT_UNAVAILABLE", "text"),
    "no such file": ({"image_url": "FILES/nothing.png"}, "INPUT_UNAVAILABLE", "404"),
    "loopback": ({"image_url": "http://127.0.0.1:1/a.png"}, "INPUT_REFUSED", "127.0.0.1"),
    "a name of loopback": ({"image_url": "http://localhost:1/a.png"}, "INPUT_REFUSED", "localhost"),
    "loopback v6": ({"image_url": "http://[::1]/a.png"}, "INPUT_REFUSED", ""),
    "metadata": ({"image_url": "http://169.254.169.254/latest"}, "INPUT_REFUSED", "169.254.169.254"),
    "redirect": ({"image_url": "REDIRECT"}, "INPUT_REFUSED", ""),
    "a file of ours": ({"image_path": "/etc/passwd"}, "INPUT_REFUSED", ""),
    "status of nothing": ({"action": "status", "request_id": "nobody"}, "UNKNOWN_JOB", "nobody"),
    "status without id": ({"action": "status"}, "INVALID_REQUEST", "request_id"),
    "status of ../": ({"action": "status", "request_id": "../../etc"}, "INVALID_REQUEST", "request_id"),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
async def test_bad_input_gets_a_clear_error_and_leaves_nothing(make_worker, settings, files, case):
    payload, code, word = BAD_INPUTS[case]
    text = json.dumps(payload).replace("FILES", files.url("/files"))
    text = text.replace("REDIRECT", files.url("/redirect?to=http://169.254.169.254/"))
    uses_server = str(files.port) in text
    worker = make_worker(allow_hosts=("127.0.0.1",) if uses_server else ())
    answer, _ = await ask(worker, {"input": json.loads(text)})

    assert (answer["status"], answer["code"]) == ("ERROR", code)
    assert word in answer["error"]
    assert answer["hint"]
    assert files_below(settings.out_dir) == []


async def test_a_picture_bomb_is_refused(make_worker, settings, files):
    files.files["bomb.png"] = png_bomb(20_000)
    answer, _ = await ask(make_worker(), {"input": {"image_url": files.url("/files/bomb.png")}})

    assert (answer["status"], answer["code"]) == ("ERROR", "INPUT_REFUSED")
    assert "20000" in answer["error"].replace(",", "")
    assert files_below(settings.out_dir) == []


async def test_a_field_out_of_range_is_named_with_its_range(make_worker):
    answer, _ = await ask(make_worker(), {"input": {"prompt": "x", "task": "t2v-A14B", "sample_steps": 1000}})

    assert answer["error"] == "sample_steps must be between 1 and 200; got 1000."


async def test_an_unknown_field_never_fails_a_job(make_worker, files):
    answer, _ = await ask(make_worker(), example("generate", files, sample_step=3))

    assert answer["status"]["status"] == "COMPLETED"
    assert "unknown field 'sample_step' was ignored; did you mean 'sample_steps'?" in answer["warnings"]


async def test_a_secret_is_nowhere_in_answer_record_or_log(make_worker, files, settings, caplog):
    job = {
        "input": example("generate", files)["input"],
        "s3Config": {
            "accessId": "AKIA-ID",
            "accessSecret": "very-secret",
            "bucketName": "b",
            "endpointUrl": files.url("/status/403"),
        },
    }
    answer, _ = await ask(make_worker(), job)

    kept = "".join(Path(path).read_text(errors="replace") for path in files_below(settings.jobs_dir))
    assert answer["status"]["status"] == "COMPLETED"
    assert "very-secret" not in json.dumps(answer) + kept + caplog.text


@pytest.mark.parametrize(
    "config", ["s3://b", {"accessId": "a"}, {"accessId": "a", "accessSecret": "s", "endpointUrl": 1}]
)
async def test_a_malformed_bucket_is_refused_before_anything_is_rendered(make_worker, files, settings, config):
    answer, _ = await ask(make_worker(), {"input": example("generate", files)["input"], "s3Config": config})

    assert (answer["status"], answer["code"]) == ("ERROR", "INVALID_REQUEST")
    assert answer["error"].startswith("s3Config")
    assert files_below(settings.out_dir) == []


async def test_an_unknown_field_of_the_bucket_is_a_warning(make_worker, files):
    config = {
        "accessId": "a",
        "accessSecret": "s",
        "bucketName": "b",
        "endpointUrl": files.url("/status/403"),
        "acl": 1,
    }
    answer, _ = await ask(make_worker(), {"input": example("generate", files)["input"], "s3Config": config})

    assert answer["status"]["status"] == "COMPLETED"
    assert "unknown field 's3Config.acl' was ignored." in answer["warnings"]
    assert "403" in answer["delivery"]["reason"]


async def test_a_malformed_bucket_of_the_worker_costs_nobody_a_video(make_worker, files):
    broken = {"bucket_endpoint_url": "https://h:port", "bucket_access_key_id": "a", "bucket_secret_access_key": "s"}
    answer, _ = await ask(make_worker(**broken), example("generate", files), limit=20_000)

    assert answer["status"]["status"] == "COMPLETED"
    assert "BUCKET_" in answer["delivery"]["reason"]


@pytest.mark.parametrize("limit", [120_000])
async def test_a_video_too_large_for_the_answer_is_made_to_fit(make_worker, files, limit, tmp_path):
    """The fake's film is noise on purpose: it compresses badly."""
    worker = make_worker()
    whole, _ = await ask(worker, example("generate", files, request_id="big", frame_num=81))
    answer, _ = await ask(worker, example("generate", files, request_id="big", frame_num=81), limit=limit)

    assert len(json.dumps(whole)) > limit
    assert answer["delivery"]["how"] == "reencoded"
    assert len(json.dumps(answer)) <= limit
    assert (await video_in(answer, tmp_path)).frames == 81


@pytest.mark.parametrize(
    ("task", "inputs"),
    [
        ("t2v-A14B", {}),
        ("i2v-A14B", {"image_url": "image.png"}),
        ("ti2v-5B", {"size": "1280*704"}),
        ("ti2v-5B", {"image_url": "image.png", "size": "1280*704"}),
        ("s2v-14B", {"image_url": "image.png", "audio_url": "voice.wav"}),
        ("animate-14B", {"image_url": "image.png", "driving_video_url": "dance.mp4"}),
    ],
)
async def test_every_task_renders_through_the_cli(make_worker, files, tmp_path, task, inputs):
    files.files["voice.wav"] = sound(tmp_path / "voice.wav").read_bytes()
    files.files["dance.mp4"] = film(tmp_path / "dance.mp4").read_bytes()
    payload = {name: files.url(f"/files/{value}") if name.endswith("_url") else value for name, value in inputs.items()}
    worker = make_worker(tasks=(task,))
    answer, _ = await ask(worker, {"input": {"task": task, "prompt": "a cat", "sample_steps": 4, **payload}})

    assert answer.get("error") is None
    assert (answer["status"]["status"], answer["engine"]) == ("COMPLETED", "wan_cli")
