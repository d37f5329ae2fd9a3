"""Several outputs over REST: their status, downloads and first frames, and where uploads went."""

import json
import shutil

from fakes.sink import sink
from wanworker.errors import EngineFailed

BODY = {"prompt": "a cat", "width": 64, "height": 64, "length": 5, "seed": 7}
SECRET = "?X-Amz-Signature=hush-hush-hush"


def failing(engine, *seeds):
    def act(spec, path, _report):
        if spec.seed in seeds:
            raise EngineFailed(f"the card fell out at {spec.seed}")
        shutil.copyfile(engine.clip, path)

    engine.act = act


async def finished(rest, **fields):
    _, started = await rest.ask("POST", "/generate", json={**BODY, **fields})
    return started, await rest.until(started["job_id"], "completed")


async def test_each_output_is_downloaded_once_by_its_number(rest, clip):
    failing(rest.engine, 8)
    started, done = await finished(rest, num_outputs=3)
    job_id = started["job_id"]
    first, second, third = done["results"]

    assert (started["num_outputs"], done["video_ready"]) == (3, True)
    assert [each["seed"] for each in done["results"]] == [7, 8, 9]
    assert (second["video_ready"], second["code"]) == (False, "ENGINE_FAILED")
    assert third["download_url"] == f"/download/{job_id}?output=3"
    assert await rest.bytes_of(third["thumbnail_url"]) == await rest.bytes_of(first["thumbnail_url"])
    assert await rest.bytes_of(third["download_url"]) == (200, clip.read_bytes())
    assert (await rest.bytes_of(third["download_url"]))[0] == 410
    assert (await rest.bytes_of(f"/download/{job_id}?output=2"))[0] == 409
    assert (await rest.bytes_of(f"/download/{job_id}?output=5"))[0] == 404
    assert (await rest.bytes_of(f"/download/{job_id}?output=9"))[0] == 422
    assert await rest.bytes_of(f"/download/{job_id}") == (200, clip.read_bytes())
    _, after = await rest.ask("GET", f"/status/{job_id}")
    assert [each["video_ready"] for each in after["results"]] == [False, False, False]


async def test_a_first_frame_is_a_jpeg_and_no_download(rest):
    started, done = await finished(rest, thumbnail=True)
    status, jpeg = await rest.bytes_of(started["thumbnail_url"])
    _, after = await rest.ask("GET", f"/status/{started['job_id']}")

    assert (status, jpeg[:3]) == (200, b"\xff\xd8\xff")
    assert done["thumbnail_url"] == started["thumbnail_url"]
    assert "results" not in done
    assert after["video_ready"]
    assert (await rest.bytes_of("/thumbnail/nobody"))[0] == 404


async def test_a_deleted_job_leaves_none_of_its_videos(rest):
    started, _ = await finished(rest, num_outputs=2)
    folder = rest.worker.settings.out_dir
    assert len(list(folder.glob("*.mp4"))) == 2

    await rest.ask("DELETE", f"/jobs/{started['job_id']}")
    assert list(folder.glob("*.mp4")) == []


async def test_uploads_go_to_the_callers_urls_and_what_fails_stays_to_be_downloaded(serve, clip):
    async with serve(allow_hosts=("127.0.0.1",)) as rest, sink(refused=("/1.mp4",)) as server:
        urls = [f"{server.url}/{number}.mp4{SECRET}" for number in range(2)]
        started, done = await finished(rest, num_outputs=2, output_upload_urls=urls)
        stored = b"".join(path.read_bytes() for path in rest.worker.settings.jobs_dir.rglob("*") if path.is_file())
        left = await rest.bytes_of(f"/download/{started['job_id']}?output=2")

    assert [each["how"] for each in done["delivery"]["outputs"]] == ["upload_url", "path"]
    assert [size for _, _, size in server.received] == [clip.stat().st_size] * 2
    assert done["warnings"][-1] == (
        "output_upload_urls[1] did not take the file: HTTP 403. The video stays on this server, to be downloaded."
    )
    assert left == (200, clip.read_bytes())
    assert "hush" not in json.dumps(done)
    assert b"hush" not in stored


async def test_urls_that_cannot_be_used_are_refused_at_once(rest):
    for urls, count in ([["http://10.0.0.1/hush"], 1], [["https://example.com/a"], 2], ["hush", 1]):
        fields = {**BODY, "num_outputs": count, "output_upload_urls": urls}
        status, answer = await rest.ask("POST", "/generate", json=fields)
        assert (status, answer["field"]) == (422, "output_upload_urls")
        assert "hush" not in json.dumps(answer)
    assert rest.engine.seen == []
