"""/v1/videos over a scripted engine: what a request means, and what becomes of its job."""

import asyncio
import base64
import dataclasses
import io
import shutil

import aiohttp
import pytest
from PIL import Image

from fakes.clips import with_sound
from fakes.engine import CAN_DO_ALL
from fakes.headers import transformer, write_header
from fakes.recordings import sound
from wanworker.app import Worker
from wanworker.engines.base import Readiness
from wanworker.errors import EngineFailed

PATIENCE_S = 20


class Held:
    """An engine's work that waits until it is let go."""

    def __init__(self):
        self.began = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, _spec, _path, _report):
        self.began.set()
        await self.go_on.wait()
        raise EngineFailed("The engine failed as it was told to.")


async def create(rest, **fields):
    status, video = await rest.ask("POST", "/v1/videos", json={"prompt": "a cat", **fields})
    assert status == 200, video
    return video


async def ended(rest, video):
    async with asyncio.timeout(PATIENCE_S):
        while True:
            _, now = await rest.ask("GET", f"/v1/videos/{video['id']}")
            if now["status"] in {"completed", "failed"}:
                return now
            await asyncio.sleep(0.02)


async def test_every_field_reaches_the_engine(rest):
    video = await create(
        rest, model="t2v-A14B", seconds="2", size="832x480", seed=5, fps=16, num_inference_steps="6",
        guidance_scale=2, guidance_scale_2=1.5, flow_shift=7, negative_prompt="a dog",
        lora={"name": "style", "path": "wan/style.safetensors", "scale": 0.5, "int_id": 1},
    )  # fmt: skip
    done = await ended(rest, video)
    spec = rest.engine.seen[0]

    assert ("832x480", "2.06", 5, "t2v-A14B") == tuple(video[name] for name in ("size", "seconds", "seed", "model"))
    assert (spec.task, str(spec.size), spec.frames, spec.fps, spec.seed) == ("t2v-A14B", "832*480", 33, 16.0, 5)
    assert (spec.steps, spec.guidance, spec.guidance_low, spec.shift) == (6, 2.0, 1.5, 7.0)
    assert (spec.negative_prompt, spec.loras[0].high, spec.loras[0].high_strength) == (
        "a dog", "wan/style.safetensors", 0.5,
    )  # fmt: skip
    assert ("completed", 100, "64x48", "scripted-1") == tuple(
        done[name] for name in ("status", "progress", "size", "model")
    )
    assert any("seconds 2 became 33 frames" in line for line in done["warnings"])


async def test_a_job_of_one_door_is_a_job_of_the_other(rest, clip):
    fast = await rest.generate()
    await rest.until(fast, "completed")
    video = await create(rest, unheard_of=1)
    done = await ended(rest, video)
    status = await rest.status(video["id"])
    _, listed = await rest.ask("GET", "/v1/videos")

    assert [video["id"], fast] == [each["id"] for each in listed["data"]]
    assert (listed["object"], listed["has_more"], listed["last_id"]) == ("list", False, fast)
    assert "ti2v-5B" == rest.engine.seen[0].task
    assert ("completed", True) == (status["status"], status["video_ready"])
    assert ["unknown field 'unheard_of' was ignored."] == video["warnings"]
    for later in (status, done):
        assert 1 == later["warnings"].count("unknown field 'unheard_of' was ignored.")
    assert (200, clip.read_bytes()) == await rest.bytes_of(f"/download/{video['id']}")


async def test_content_is_never_used_up(rest, clip):
    video = await ended(rest, await create(rest))
    path = f"/v1/videos/{video['id']}/content"

    for _ in range(2):
        assert (200, clip.read_bytes()) == await rest.bytes_of(path)
    assert (206, clip.read_bytes()[4:8]) == await rest.bytes_of(path, Range="bytes=4-7")
    assert 416 == (await rest.bytes_of(path, Range="bytes=99999999-"))[0]
    assert b"\xff\xd8\xff" == (await rest.bytes_of(f"{path}?variant=thumbnail"))[1][:3]
    assert (await rest.status(video["id"]))["video_ready"]


async def test_delete_stops_the_render(rest):
    rest.engine.act = held = Held()
    video = await create(rest)
    async with asyncio.timeout(PATIENCE_S):
        await held.began.wait()
    _, now = await rest.ask("GET", f"/v1/videos/{video['id']}")
    status, refused = await rest.ask("GET", f"/v1/videos/{video['id']}/content")
    _, deleted = await rest.ask("DELETE", f"/v1/videos/{video['id']}")

    assert ("in_progress", 50) == (now["status"], now["progress"])
    assert (409, "NOT_READY") == (status, refused["error"]["code"])
    assert {"id": video["id"], "object": "video.deleted", "deleted": True} == deleted
    assert rest.engine.stopped
    assert 404 == (await rest.ask("GET", f"/v1/videos/{video['id']}"))[0]


async def test_delete_removes_the_thumbnail_too(rest):
    video = await ended(rest, await create(rest))
    await rest.bytes_of(f"/v1/videos/{video['id']}/content?variant=thumbnail")
    folder = rest.worker.settings.jobs_dir / "thumbnails"
    made = list(folder.iterdir())
    await rest.ask("DELETE", f"/v1/videos/{video['id']}")

    assert (1, []) == (len(made), list(folder.iterdir()))


async def test_a_failed_video_says_why_and_keeps_what_was_asked(rest):
    rest.engine.act = held = Held()
    held.go_on.set()
    failed = await ended(rest, await create(rest, model="ti2v-5B", seconds=1))

    assert ("failed", "ti2v-5B", "1.04", "1280x704") == tuple(
        failed[name] for name in ("status", "model", "seconds", "size")
    )
    assert "ENGINE_FAILED" == failed["error"]["code"]
    assert failed["error"]["message"].startswith("The engine failed as it was told to.")


async def test_a_video_drives_animate_and_is_kept_no_longer_than_its_job(
    serve_worker, make_settings, engine, clip, picture
):
    row = engine.row("wan_cli", dataclasses.replace(CAN_DO_ALL, prepares_motion=True))
    form = aiohttp.FormData({"prompt": "a cat", "model": "animate-14B", "image_reference": picture})
    form.add_field("input_reference", clip.read_bytes(), filename="a.mp4", content_type="video/mp4")
    async with serve_worker(Worker(make_settings(), engines=(row,))) as rest:
        status, video = await rest.ask("POST", "/v1/videos", data=form)
        assert status == 200, video
        await ended(rest, video)
        spec = rest.engine.seen[0]
        await rest.until_nothing_is_kept()

    assert "animate-14B" == spec.task
    assert (".mp4", ".png") == (spec.driving_video.suffix, spec.image.suffix)


async def test_a_picture_and_a_sound_make_a_speaking_video(rest, clip, picture, tmp_path):
    voice = sound(tmp_path / "voice.wav").read_bytes()
    spoken = with_sound(clip, tmp_path / "spoken.mp4")
    rest.engine.act = lambda _spec, path, _report: shutil.copyfile(spoken, path)
    form = aiohttp.FormData({"prompt": "a singer", "model": "s2v-14B"})
    form.add_field("input_reference", base64.b64decode(picture), filename="a.png", content_type="image/png")
    form.add_field("audio", voice, filename="voice.wav", content_type="audio/wav")
    status, video = await rest.ask("POST", "/v1/videos", data=form)
    assert status == 200, video
    done = await ended(rest, video)
    other = await create(rest, input_reference=picture, audio_base64=base64.b64encode(voice).decode())
    await ended(rest, other)
    await rest.until_nothing_is_kept()
    first, second = rest.engine.seen

    assert ("completed", "s2v-14B", "s2v-14B") == (done["status"], video["model"], other["model"])
    assert ("s2v-14B", ".png", ".wav", "s2v-14B", ".wav") == (
        first.task, first.image.suffix, first.audio.suffix, second.task, second.audio.suffix,
    )  # fmt: skip
    assert [] == [path.name for path in (rest.worker.settings.jobs_dir / "kept").iterdir() if path.is_file()]


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"model": "s2v-14B"}, "audio", "Model s2v-14B needs a sound in audio."),
        ({"model": "s2v-14B", "audio_url": "https://a.example/b.wav"}, "input_reference", "needs a picture"),
        ({"model": "t2v-A14B", "audio_base64": "AA=="}, "audio_base64", "is a sound, and t2v-A14B takes none"),
        (
            {"audio": "AA==", "audio_url": "https://a.example/b.wav"},
            "audio_url",
            "audio and audio_url are both a sound",
        ),
        ({"audio": {"file_id": "x"}}, "audio", "must have image_url, video_url or audio_url"),
    ],
)
async def test_a_sound_is_for_s2v_alone_and_sent_once(rest, fields, param, said):
    status, refused = await rest.ask("POST", "/v1/videos", json={"prompt": "a cat", **fields})

    assert (400, param) == (status, refused["error"]["param"])
    assert said in refused["error"]["message"]


async def test_a_sound_by_a_private_url_is_refused_at_once(rest, picture):
    fields = {"prompt": "a cat", "input_reference": picture, "audio_url": "ftp://10.0.0.1/a.wav"}
    status, refused = await rest.ask("POST", "/v1/videos", json=fields)

    assert (400, "audio_url") == (status, refused["error"]["param"])


async def test_a_video_is_for_animate_alone(rest, clip):
    data = base64.b64encode(clip.read_bytes()).decode()
    status, refused = await rest.ask(
        "POST", "/v1/videos", json={"prompt": "a cat", "model": "t2v-A14B", "input_reference": data}
    )

    assert (400, "input_reference") == (status, refused["error"]["param"])
    assert "input_reference is a video, and t2v-A14B takes none." in refused["error"]["message"]


@pytest.fixture
def picture():
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 60, 20)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize(
    ("ready", "has_picture", "task"),
    [("all", False, "t2v-A14B"), ("all", True, "i2v-A14B"), ("ti2v-5B", False, "ti2v-5B"),
     ("ti2v-5B", True, "ti2v-5B"), ("none", False, "t2v-A14B")],
)  # fmt: skip
async def test_wan22_is_the_best_that_this_worker_can_render(rest, picture, ready, has_picture, task):
    rest.engine.readiness = lambda name: Readiness(missing=() if ready in {"all", name} else ("weights",))
    video = await create(rest, model="Wan2.2", **({"input_reference": picture} if has_picture else {}))

    assert task == video["model"]


async def test_a_model_is_named_by_its_file_its_folder_or_its_repository(serve, tmp_path):
    models = tmp_path / "models"
    (models / "diffusion_models").mkdir(parents=True)
    write_header(models / "diffusion_models" / "my_t2v_high_noise.safetensors", transformer())
    write_header(models / "diffusion_models" / "my_t2v_low_noise.safetensors", transformer())
    async with serve(ckpt_dir=models) as rest:
        by_file = await create(rest, model="my_t2v_high_noise.safetensors")
        by_repository = await create(rest, model="Wan-AI/Wan2.2-TI2V-5B-Diffusers")
        status, refused = await rest.ask("POST", "/v1/videos", json={"prompt": "a cat", "model": "my_t2v_higher"})
        await ended(rest, by_repository)

    assert ["my_t2v_high_noise.safetensors", "ti2v-5B"] == [by_file["model"], by_repository["model"]]
    assert [("t2v-A14B", ("my_t2v_high_noise.safetensors",)), ("ti2v-5B", ())] == [
        (spec.task, spec.diffusion_models) for spec in rest.engine.seen
    ]
    assert (400, "MODEL_NOT_FOUND") == (status, refused["error"]["code"])
    assert "my_t2v_low_noise.safetensors" in refused["error"]["message"]


async def test_failures_of_other_routes_keep_their_form(rest):
    _, there = await rest.ask("GET", "/v1/videos/nobody")
    _, nowhere = await rest.ask("GET", "/v1/nothing")
    _, others = await rest.ask("GET", "/status/nobody")

    assert {"message", "type", "param", "code"} == set(there["error"]) == set(nowhere["error"])
    assert {"error", "detail", "code", "hint"} == set(others)


async def test_a_full_queue_says_when_to_come_back(serve):
    async with serve(max_queue=1) as rest:
        rest.engine.act = held = Held()
        await create(rest)
        async with asyncio.timeout(PATIENCE_S):
            await held.began.wait()
        await create(rest)
        async with rest.session.post(f"{rest.url}/v1/videos", json={"prompt": "a cat"}) as answer:
            refused = await answer.json()

    assert (429, "rate_limit_error", "QUEUE_FULL") == (
        answer.status, refused["error"]["type"], refused["error"]["code"],
    )  # fmt: skip
    assert int(answer.headers["Retry-After"]) >= 1
