"""Render to files: run the engine, verify its files, move them into place, and describe them."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from wanworker.deadline import Deadline
from wanworker.engines.base import Engine, GraphEngine, RemoteEngine, Rendered, Report
from wanworker.errors import EngineUnavailable, NoOutput
from wanworker.jobs.model import Output
from wanworker.jobs.output_paths import OutputPaths, Placed, remove_part
from wanworker.media.new_file import full_disk_reported
from wanworker.media.outputs.file_facts import file_facts
from wanworker.media.threads import in_thread
from wanworker.media.video.finishing import Finish, finish_clip
from wanworker.media.video.mp4 import VideoFacts
from wanworker.media.video.writer import DEFAULT_CRF, probe
from wanworker.progress import Progress
from wanworker.spec import TASKS, GraphSpec, RenderSpec

#: The share of the progress that an engine has where its clip is finished afterwards, and the most before the end.
_ENGINE_SHARE, _MOST = 0.8, 0.99


async def render_to_files(
    engine: Engine,
    spec: RenderSpec | GraphSpec,
    place: OutputPaths,
    work_dir: Path,
    report: Report,
    deadline: Deadline,
    *,
    encodes: bool = True,
    confirm: Callable[[], None] = lambda: None,
) -> tuple[Rendered, tuple[Output, ...]]:
    """
    Let *engine* make what *spec* says. Return its result with the verified outputs in their places.

    Unless it *encodes* in the quality that *spec* asks for, its file is encoded again, in the pass that finishes it.
    *confirm* is called in a thread when the outputs are in their places; they stay unless it raises.

    Raises EngineError, for example NoOutput or DiskFull, RequestIdReused if another job has the name of a file by then,
    and what *confirm* raises. In every case the output folder is left without half-made files, and after an error or a
    cancellation without any of this output, as far as the disk lets them be removed.
    """
    async with _tidied(place) as moved:
        if isinstance(spec, GraphSpec):
            made = await _run_graph(engine, spec, place, work_dir, report, deadline, moved)
        else:
            finish = _finish(spec, encodes=encodes)
            async with deadline.scope():
                rendered, facts = await _rendered(engine, spec, finish, place, work_dir, report, deadline)
            made = rendered, (await in_thread(_put, lambda: place.put(place.part), facts, moved),)
        await in_thread(confirm)
        return made


@contextlib.asynccontextmanager
async def _tidied(place: OutputPaths) -> AsyncIterator[list[Placed]]:
    """
    Give a list for the files that are in their places. Remove the part at the end, and after an error those too.
    """
    moved: list[Placed] = []
    try:
        try:
            with full_disk_reported(f"the output in {place.out_dir}"):
                yield moved
        finally:
            # A disk that has become read-only keeps the half file. The caller already gets that error.
            with contextlib.suppress(OSError):
                await in_thread(remove_part, place.part)
    except BaseException:
        await _remove(moved)  # no record will name them
        raise


async def _remove(moved: Sequence[Placed]) -> None:
    """Remove files that no record names. A disk that has become read-only keeps them."""

    def remove() -> None:
        for placed in moved:
            with contextlib.suppress(OSError):
                placed.remove()

    if moved:
        await in_thread(remove)


def _finish(spec: RenderSpec, *, encodes: bool) -> Finish:
    return Finish(
        spec.target_fps,
        spec.upscale_factor,
        spec.soundtrack,
        rendered_width=spec.size.width,
        crf=DEFAULT_CRF if spec.crf is None else spec.crf,
        encodes=spec.crf is not None and not encodes,
    )


async def _rendered(
    engine: Engine,
    spec: RenderSpec,
    finish: Finish,
    place: OutputPaths,
    work_dir: Path,
    report: Report,
    deadline: Deadline,
) -> tuple[Rendered, VideoFacts]:
    """Render the clip, finish it, and return its final facts. What is rendered elsewhere is finished there."""
    if isinstance(engine, RemoteEngine) or (finish.is_nothing and spec.upscale_model is None):
        rendered = await _render(engine, spec, place, work_dir, report, deadline)
        return rendered, await _verified(place.part, spec)

    def report_engine(progress: Progress) -> None:
        report(dataclasses.replace(progress, fraction=progress.fraction * _ENGINE_SHARE))

    def report_finish(stage: str, done: int, frames: int) -> None:
        fraction = _ENGINE_SHARE + (_MOST - _ENGINE_SHARE) * min(1.0, done / frames)
        report(Progress(stage, fraction, done, frames))

    rendered = await _render(engine, spec, place, work_dir, report_engine, deadline)
    facts = await _verified(place.part, spec)
    started = time.monotonic()
    done = await finish_clip(place.part, place.spare, finish, facts=facts, on_frames=report_finish)
    timings = {**rendered.timings, "finish_s": time.monotonic() - started} if done.is_new else rendered.timings
    return dataclasses.replace(rendered, warnings=(*rendered.warnings, *done.lines), timings=timings), done.facts


async def _render(
    engine: Engine, spec: RenderSpec, place: OutputPaths, work_dir: Path, report: Report, deadline: Deadline
) -> Rendered:
    if isinstance(engine, RemoteEngine):
        return await engine.render_as(
            place.name, spec, place.part, work_dir=work_dir, report=report, timeout_s=deadline.left_s
        )
    return await engine.render(spec, place.part, work_dir=work_dir, report=report)


async def _run_graph(
    engine: Engine,
    spec: GraphSpec,
    place: OutputPaths,
    work_dir: Path,
    report: Report,
    deadline: Deadline,
    moved: list[Placed],
) -> tuple[Rendered, tuple[Output, ...]]:
    if not isinstance(engine, GraphEngine):
        raise EngineUnavailable("This engine runs no graphs; only ComfyUI does.")
    place.part.mkdir()
    async with deadline.scope():
        rendered = await engine.run_graph(spec, place.part, work_dir=work_dir, report=report)
    if not rendered.files:
        raise NoOutput("The graph ran but saved no file.")
    outputs: list[Output] = []
    damaged: list[str] = []
    for path in rendered.files:
        try:
            outputs.append(await _put_graph_file(path, place, moved))
        except NoOutput as error:
            if len(rendered.files) == 1:
                raise
            damaged.append(f"Output {path.name!r} was left out: {error}")
    if not outputs:
        raise NoOutput(" ".join(damaged))
    return dataclasses.replace(rendered, warnings=(*rendered.warnings, *damaged)), tuple(outputs)


async def _put_graph_file(path: Path, place: OutputPaths, moved: list[Placed]) -> Output:
    """Move a graph's file into place. A video's container is checked; pictures and sounds are taken as they are."""
    _check_is_no_link(path)
    facts = await probe(path) if path.suffix.lower() in {".mp4", ".webm", ".mkv", ".mov"} else None
    return await in_thread(_put, lambda: place.put_graph_file(path, path.name), facts, moved)


async def _verified(path: Path, spec: RenderSpec) -> VideoFacts:
    """Return the facts of a video that is whole. Raises NoOutput, also when the engine reported success."""
    _check_is_no_link(path)
    if not path.is_file():
        raise NoOutput("The engine reported success and wrote no file.")
    facts = await probe(path)
    if TASKS[spec.task].needs_audio and not facts.has_audio:
        raise NoOutput(f"The video of {spec.task} has no sound: it could not be joined with the audio.")
    return facts


def _check_is_no_link(path: Path) -> None:
    """Raise NoOutput for a link, which may lead to any file of this machine."""
    if path.is_symlink():
        raise NoOutput("The engine left a link in place of a file.")


def _put(put: Callable[[], Placed], facts: VideoFacts | None, moved: list[Placed]) -> Output:
    moved.append(placed := put())
    final = placed.path
    file = file_facts(final)
    if facts is None:
        return Output(str(final), file.kind, file.mime, file.size_bytes, file.sha256)
    return Output(
        path=str(final),
        kind=file.kind,
        mime=file.mime,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        width=facts.width,
        height=facts.height,
        fps=facts.fps,
        frames=facts.frames,
        duration_s=facts.duration_s,
        codec=facts.codec,
        has_audio=facts.has_audio,
    )
