"""The document's six endpoints: their fields, defaults, words and meaning."""

import asyncio
import base64
import io
import json

import aiohttp
import pytest
from PIL import Image

from wanworker.errors import EngineFailed
from wanworker.rest.schemas.generate import GenerateBody

DOCUMENTED_REQUEST = {
    "prompt": "A boldly colored ladybug moves along a verdant leaf to drink from a water droplet.",
    "negative_prompt": "static, blurry, low quality",
    "seed": 123456,
    "steps": 8,
    "cfg": 1.0,
    "width": 1280,
    "height": 704,
    "length": 121,
    "fps": 24,
}


class Held:
    """An engine's work that waits until it is let go."""

    def __init__(self):
        self.began = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, _spec, out_path, _report):
        self.began.set()
        await self.go_on.wait()
        raise EngineFailed("The engine failed as it was told to.")


def png(width=64, height=48):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 60, 20)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("fps", [24, 24.0, 23.976])
async def test_the_frame_rate_is_shown_as_it_was_sent(rest, fps):
    _, started = await rest.ask("POST", "/generate", json={**DOCUMENTED_REQUEST, "fps": fps})

    assert (fps, type(fps)) == (started["fps"], type(started["fps"]))


async def test_the_documented_request_is_answered_as_documented(rest):
    status, started = await rest.ask("POST", "/generate", json=DOCUMENTED_REQUEST)
    done = await rest.until(started["job_id"])
    job_id = started["job_id"]
    spec = rest.engine.seen[0]

    assert 200 == status
    assert ("queued", "Video generation started") == (started["status"], started["message"])
    assert {"status": "completed", "progress": 100, "video_ready": True, "download_url": f"/download/{job_id}"} == {
        name: done[name] for name in ("status", "progress", "video_ready", "download_url")
    }
    assert (123456, 8, 1.0, 121, 24.0) == (spec.seed, spec.steps, spec.guidance, spec.frames, spec.fps)
    assert ("ti2v-5B", "1280*704") == (spec.task, str(spec.size))


async def test_the_documented_defaults_are_those_of_the_schema(rest):
    _, schema = await rest.ask("GET", "/openapi.json")
    fields = schema["components"]["schemas"]["GenerateBody"]["properties"]
    body = schema["paths"]["/generate"]["post"]["requestBody"]["content"]

    defaults = {"steps": 8, "cfg": 1.0, "width": 1280, "height": 704, "length": 121, "fps": 24}
    assert defaults == {name: fields[name]["default"] for name in defaults}
    assert {"application/json", "multipart/form-data"} == set(body)
    assert (1, 200) == (fields["steps"]["minimum"], fields["steps"]["maximum"])


async def test_an_omitted_seed_is_drawn_and_reported(rest):
    seeds = set()
    for _ in range(2):
        _, started = await rest.ask("POST", "/generate", json={"prompt": "a cat"})
        done = await rest.until(started["job_id"])
        seeds.add(started["seed"])
        assert started["seed"] == done["seed"] == rest.engine.seen[-1].seed

    assert 2 == len(seeds)
    assert all(0 <= seed < 2**53 for seed in seeds)


async def test_seed_0_and_cfg_0_are_honoured(rest):
    await rest.until(await rest.generate(seed=0, cfg=0))

    assert (0, 0.0) == (rest.engine.seen[0].seed, rest.engine.seen[0].guidance)


async def test_steps_and_cfg_left_out_are_the_models_own_where_fastwan_does_not_render(rest):
    done = await rest.until(await rest.generate(steps=8))

    assert (8, None) == (rest.engine.seen[0].steps, rest.engine.seen[0].guidance)
    assert any(line.startswith("cfg left out") for line in done["warnings"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0), ("steps", 201), ("steps", True), ("steps", 1.5), ("cfg", 51), ("cfg", -1), ("width", 63),
        ("height", 2049), ("length", 0), ("length", 1202), ("fps", 0), ("fps", 121), ("seed", -2), ("seed", 2**64),
        ("prompt", ""), ("prompt", "x" * 10_001), ("prompt", "a\ud800b"), ("prompt", 7), ("engine", "no_such"),
        ("image_url", "ftp://example.com/a.png"), ("webhook_url", "javascript:alert(1)"), ("image", "no picture"),
    ],
)  # fmt: skip
async def test_a_field_out_of_range_is_422_with_its_name(rest, field, value):
    body = json.dumps({"prompt": "a cat", field: value})
    status, failure = await rest.ask("POST", "/generate", data=body, headers={"Content-Type": "application/json"})

    assert (422, field) == (status, failure["field"]), failure
    assert field in failure["error"]
    assert [] == rest.engine.seen


async def test_the_prompt_is_required(rest):
    status, failure = await rest.ask("POST", "/generate", json={"steps": 8})

    assert (422, "prompt") == (status, failure["field"])


@pytest.mark.parametrize("body", [b"{", b"[1]", b"\xff", b'{"prompt": NaN}', b"[" * 100_000, b"", b"1" * 5000])
async def test_a_body_that_is_no_object_is_422(rest, body):
    status, failure = await rest.ask("POST", "/generate", data=body, headers={"Content-Type": "application/json"})

    assert (422, "INVALID_REQUEST") == (status, failure["code"])


async def test_a_body_of_another_type_is_415(rest):
    status, failure = await rest.ask("POST", "/generate", data=b"prompt", headers={"Content-Type": "text/plain"})

    assert (415, "WRONG_MEDIA_TYPE") == (status, failure["code"])


async def test_what_is_changed_or_unknown_is_a_warning(rest):
    sent = {"prompt": "a cat", "length": 16, "negative_promt": "x", "negative_prompt": "dull", "cfg": 1}
    _, started = await rest.ask("POST", "/generate", json=sent)
    done = await rest.until(started["job_id"])

    text = " ".join(started["warnings"])
    assert 17 == started["length"]
    assert "length 16 was changed to 17" in text
    assert "did you mean 'negative_prompt'" in text
    assert "negative_prompt has no effect: it needs a guidance scale above 1." in text
    assert set(started["warnings"]) <= set(done["warnings"])


async def test_queued_means_queued_and_jobs_render_in_order_of_arrival(rest):
    rest.engine.act = held = Held()
    first, second, third = [await rest.generate(seed=seed) for seed in (1, 2, 3)]
    await held.began.wait()
    states = [await rest.status(job_id) for job_id in (first, second, third)]
    _, root = await rest.ask("GET", "/")
    held.go_on.set()
    await rest.until(third)

    assert [("processing", None), ("queued", 1), ("queued", 2)] == [
        (state["status"], state.get("queue_position")) for state in states
    ]
    assert all(type(state["progress"]) is int for state in states)
    assert {"length": 2, "running": 1, "limit": 100} == root["queue"]
    assert [1, 2, 3] == [spec.seed for spec in rest.engine.seen]


async def test_a_failed_job_says_why(rest):
    async def fail(_spec, _path, _report):
        raise EngineFailed("The engine fell over.")

    rest.engine.act = fail
    done = await rest.until(await rest.generate())
    status, failure = await rest.ask("GET", f"/download/{done['job_id']}")

    assert ("error", "The engine fell over.", "ENGINE_FAILED") == (done["status"], done["error"], done["code"])
    assert not done["video_ready"]
    assert 409 == status
    assert "fell over" in failure["error"]


async def test_a_crash_of_ours_is_an_error_without_a_traceback(rest):
    async def crash(_spec, _path, _report):
        raise ZeroDivisionError("secret detail")

    rest.engine.act = crash
    done = await rest.until(await rest.generate())

    assert ("error", "INTERNAL") == (done["status"], done["code"])
    assert "secret" not in json.dumps(done)


async def test_a_full_queue_is_429_with_a_time_to_come_back(serve, engine):
    engine.act = held = Held()
    async with serve(max_queue=1) as rest:
        await rest.generate()
        await held.began.wait()
        await rest.generate()
        async with rest.session.post(f"{rest.url}/generate", json={"prompt": "a cat"}) as answer:
            status, retry_after = answer.status, int(answer.headers["Retry-After"])

        assert 429 == status
        assert 1 <= retry_after <= 600


async def test_jobs_are_listed_newest_first_in_pages(rest):
    ids = [await rest.generate(prompt=f"cat {number}") for number in range(3)]
    for job_id in ids:
        await rest.until(job_id)
    _, page = await rest.ask("GET", "/jobs?limit=2")
    _, rest_of_them = await rest.ask("GET", f"/jobs?limit=2&cursor={page['next_cursor']}")

    assert (3, 3) == (page["total"], rest_of_them["total"])
    assert ids[::-1] == [job["job_id"] for job in (*page["jobs"], *rest_of_them["jobs"])]
    assert ("cat 2", "completed") == (page["jobs"][0]["prompt"], page["jobs"][0]["status"])
    assert page["jobs"][0]["created_at"] >= page["jobs"][1]["created_at"]
    assert None is rest_of_them["next_cursor"]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "cursor=nonsense"])
async def test_a_bad_page_is_422(rest, query):
    status, failure = await rest.ask("GET", f"/jobs?{query}")

    assert (422, query.partition("=")[0]) == (status, failure["field"])


async def test_delete_stops_a_running_job_and_forgets_it(rest):
    rest.engine.act = held = Held()
    job_id = await rest.generate()
    waiting = await rest.generate()
    await held.began.wait()
    answers = [await rest.ask("DELETE", f"/jobs/{each}") for each in (waiting, job_id)]

    assert [(200, {"job_id": each, "deleted": True}) for each in (waiting, job_id)] == answers
    assert rest.engine.stopped
    for path in (f"/status/{job_id}", f"/download/{job_id}", f"/status/{waiting}", f"/events/{job_id}"):
        assert 404 == (await rest.ask("GET", path))[0]
    assert (404, 0) == ((await rest.ask("DELETE", f"/jobs/{job_id}"))[0], (await rest.ask("GET", "/jobs"))[1]["total"])
    rest.engine.act = None
    assert "completed" == (await rest.until(await rest.generate()))["status"]


async def test_delete_removes_the_video(rest):
    done = await rest.until(await rest.generate())
    out_dir = rest.worker.settings.out_dir
    before = list(out_dir.glob("*.mp4"))
    await rest.ask("DELETE", f"/jobs/{done['job_id']}")

    assert 1 == len(before)
    assert [] == list(out_dir.glob("*.mp4"))
    assert [] == [path for path in (out_dir / "jobs" / "kept").iterdir() if path.is_file()]


@pytest.mark.parametrize("path", ["/status/nothing", "/status/..%2f..%2fetc", "/download/a.b", "/nothing", "/status/"])
async def test_what_is_unknown_is_404_in_the_same_form(rest, path):
    status, failure = await rest.ask("GET", path)

    assert 404 == status
    assert {"error", "code", "hint"} <= set(failure)


async def test_the_server_says_what_it_is(rest):
    _, root = await rest.ask("GET", "/")
    async with asyncio.timeout(10):
        while (ready := await rest.ask("GET", "/ready"))[0] != 200:
            await asyncio.sleep(0.02)

    assert {"status", "version", "engine", "comfyui_status", "queue", "cards"} == set(root)
    assert ("diffusers", "offline") == (ready[1]["engine"], ready[1]["comfyui_status"])
    assert 200 == (await rest.ask("GET", "/ping"))[0]


async def test_a_picture_comes_as_a_file_as_base64_or_as_a_data_uri(rest):
    as_form = aiohttp.FormData({"prompt": "a cat", "seed": "5"})
    as_form.add_field("image", png(), filename="cat.png", content_type="image/png")
    text = base64.b64encode(png()).decode()
    jobs = []
    for body in (
        {"data": as_form},
        {"json": {"prompt": "a cat", "image": text}},
        {"json": {"prompt": "a cat", "image": f"data:image/png;base64,{text}"}},
    ):
        status, started = await rest.ask("POST", "/generate", **body)
        assert 200 == status, started
        jobs.append(await rest.until(started["job_id"]))
    await rest.until_nothing_is_kept()

    assert ["completed"] * 3 == [job["status"] for job in jobs]
    assert all(spec.image is not None and not spec.size_given for spec in rest.engine.seen)
    assert 4 / 3 == pytest.approx(rest.engine.seen[0].size.aspect, abs=0.05)
    assert 5 == rest.engine.seen[0].seed


async def test_a_size_given_with_a_picture_holds(rest):
    image = base64.b64encode(png()).decode()
    await rest.until(await rest.generate(image=image, width=640))

    assert "640*704" == str(rest.engine.seen[0].size)


async def test_a_private_picture_url_is_refused_when_its_turn_comes(rest):
    done = await rest.until(await rest.generate(image_url="http://127.0.0.1:9/cat.png"))

    assert ("error", "INPUT_REFUSED") == (done["status"], done["code"])


def test_every_documented_field_is_there():
    assert {*DOCUMENTED_REQUEST} <= set(GenerateBody.model_fields)


async def test_a_refusal_names_the_fields_that_are_unknown(rest):
    status, failure = await rest.ask("POST", "/generate", json={"promt": "a cat"})

    assert 422 == status
    assert failure["hint"].endswith("Unknown field 'promt' was ignored; did you mean 'prompt'?")
