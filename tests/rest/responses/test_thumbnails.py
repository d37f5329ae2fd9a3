"""Small pictures of videos: made once, kept after the download, gone with the job."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

from PIL import Image

from fakes.engine import write_clip


async def test_a_picture_is_made_once_and_outlives_the_video(rest) -> None:
    job_id = await rest.generate()
    early = (await rest.bytes_of(f"/thumbnail/{job_id}"))[0]
    await rest.until(job_id)
    answers = await asyncio.gather(*(rest.bytes_of(f"/thumbnail/{job_id}") for _ in range(5)))
    await rest.bytes_of(f"/download/{job_id}")
    folder = rest.worker.settings.jobs_dir / "thumbnails"
    after = await rest.bytes_of(f"/thumbnail/{job_id}")

    assert early in {200, 409}
    assert {(200, answers[0][1])} == {*answers, after}
    assert Image.open(io.BytesIO(after[1])).size == (64, 48)
    assert [path.suffix for path in folder.iterdir()] == [".jpg"]


async def test_a_deleted_jobs_picture_goes_too(rest) -> None:
    job_id = await rest.generate()
    await rest.until(job_id)
    await rest.bytes_of(f"/thumbnail/{job_id}")
    await rest.ask("DELETE", f"/jobs/{job_id}")

    assert list((rest.worker.settings.jobs_dir / "thumbnails").iterdir()) == []
    assert (await rest.ask("GET", f"/thumbnail/{job_id}"))[0] == 404


async def test_without_a_video_there_is_no_picture(rest, tmp_path: Path) -> None:
    rest.engine.clip = write_clip(tmp_path / "wide.mp4", width=640, height=360)
    job_id = await rest.generate()
    status = await rest.until(job_id)
    (rest.worker.settings.out_dir / f"{job_id}.mp4").unlink()
    code, failure = await rest.ask("GET", f"/thumbnail/{job_id}")

    assert (code, failure["code"]) == (410, "GONE")
    assert status["video"]["width"] == 640


async def test_the_longer_side_is_320_at_most(rest, tmp_path: Path) -> None:
    rest.engine.clip = write_clip(tmp_path / "tall.mp4", width=360, height=640)
    job_id = await rest.generate()
    await rest.until(job_id)
    _, picture = await rest.bytes_of(f"/thumbnail/{job_id}")

    assert Image.open(io.BytesIO(picture)).size == (180, 320)
