"""What the client returns: where a job is, its files, and its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from wanworker.client.errors import ClientError, TargetFailed

#: Where a job can be, whatever the target calls it.
State = Literal["queued", "running", "completed", "failed", "cancelled"]


#: A function that is called with each warning.
OnWarning = Callable[[str], object]


def warnings_in(answer: object) -> tuple[str, ...]:
    """Return the warnings in the JSON of a target. Pure."""
    warnings = answer.get("warnings") if isinstance(answer, Mapping) else None
    return tuple(map(str, warnings)) if isinstance(warnings, list) else ()


@dataclass(frozen=True, slots=True)
class OutputFile:
    """
    Hold one file of an answer, under the name that the target gave it.

    It is in the answer (`data`, base64 or a data URI), behind a link (`url`), or on the target's own disk (`path`).
    `size_bytes` is what it must have once it is here, 0 if that is unknown. `is_uploaded` says that the worker put it
    at a URL of the caller's, and `of` names the file whose first frame a picture is.
    """

    name: str
    data: str = field(default="", repr=False)
    url: str = ""
    path: str = ""
    size_bytes: int = 0
    is_uploaded: bool = False
    of: str = ""

    @property
    def is_here(self) -> bool:
        """Say whether the client can get the file."""
        return bool(self.data or self.url)


@dataclass(frozen=True, slots=True)
class JobStatus:
    """
    Say where a job is.

    `progress` is in percent. `queue_position` is 1 for the next job. `delay_s` and `execution_s` are RunPod's own
    seconds in the queue and on the worker. `answer` is the target's JSON: the whole status of a REST server, the
    `output` of a RunPod endpoint. `thumbnails` are the first frames of `files`. `error` says why there is no result:
    the job failed or was cancelled, or its video is lost. A client that waits for the job raises it.
    """

    job_id: str
    state: State
    stage: str = ""
    progress: float = 0.0
    step: int | None = None
    steps: int | None = None
    detail: str = ""
    eta_s: float | None = None
    queue_position: int | None = None
    delay_s: float | None = None
    execution_s: float | None = None
    answer: Any = field(default=None, repr=False)
    files: tuple[OutputFile, ...] = ()
    thumbnails: tuple[OutputFile, ...] = ()
    error: ClientError | None = None

    def __post_init__(self) -> None:
        if self.error is not None:
            self.error.warnings = self.warnings

    @property
    def is_over(self) -> bool:
        """Say whether the job has ended, well or badly."""
        return self.state not in {"queued", "running"}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the worker changed about the request, or ignored, as far as it has said by now."""
        return warnings_in(self.answer)


#: A function that is called with each new status of a job.
OnProgress = Callable[[JobStatus], object]


@dataclass(frozen=True, slots=True)
class JobPage:
    """Hold a page of a server's jobs, newest first. `next_cursor` asks for the next page; None: this is the last."""

    jobs: tuple[JobStatus, ...]
    total: int
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """
    Hold what a job would become, as docs/api.md describes it under `plan`.

    `video` has width, height, fps, frames and duration_s; `recipe` has name, steps, guidance, guidance_low, shift and
    solver. What cannot be known before is None, and a sentence in `unknown`. `seconds` are the median of `like_jobs`
    on this volume, and `cost` is in the currency of the price. `answer` is the target's JSON.
    """

    engine: str
    model: str
    size: str | None = None
    video: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    num_outputs: int = 1
    recipe: Mapping[str, Any] | None = None
    placement: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    seconds: float | None = None
    seconds_warm: float | None = None
    seconds_cold: float | None = None
    like_jobs: int = 0
    cost: float | None = None
    answer: Any = field(default=None, repr=False)

    @classmethod
    def of(cls, answer: object) -> Plan:
        """Read the JSON of a plan. Raises TargetFailed if it is none."""
        if not isinstance(answer, Mapping) or not isinstance(answer.get("engine"), str):
            raise TargetFailed(
                f"The answer is not a plan: {str(answer)[:200]}", hint="Only workers that run wanworker make plans."
            )
        names = [each.name for each in fields(cls) if each.name != "answer"]
        values = {name: answer[name] for name in names if name in answer}
        lists = {name: tuple(map(str, answer.get(name) or ())) for name in ("warnings", "unknown")}
        return cls(**{"model": "", **values, **lists}, answer=answer)


@dataclass(frozen=True, slots=True)
class Result:
    """
    Hold what a job made.

    `paths` are the files that were saved here. Without a place to save them, `contents` has their bytes. `left_there`
    are paths on the worker, of files that its answer does not contain. `uploaded` names the files that the worker put
    at the caller's own URLs. `thumbnails` has the JPEG of the first frame of each file, empty for one without, then
    those of files that are not here; `thumbnail_paths` says where they were saved, if they were asked for. `notes` say
    what is missing of them. `answer` is the target's JSON.
    """

    job_id: str
    paths: tuple[Path, ...] = ()
    contents: tuple[bytes, ...] = field(default=(), repr=False)
    thumbnail_paths: tuple[Path, ...] = ()
    thumbnails: tuple[bytes, ...] = field(default=(), repr=False)
    left_there: tuple[str, ...] = ()
    uploaded: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    answer: Any = field(default=None, repr=False)

    @property
    def path(self) -> Path | None:
        """The first file, None if none was saved."""
        return self.paths[0] if self.paths else None

    @property
    def content(self) -> bytes | None:
        """The bytes of the first file, None if there is no file. Raises OSError."""
        if self.contents:
            return self.contents[0]
        return self.paths[0].read_bytes() if self.paths else None

    @property
    def seed(self) -> int | None:
        """The seed that was used, None if the answer names none."""
        seed = self._named("seed")
        return seed if isinstance(seed, int) else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the worker changed about the request, or ignored, and `notes`."""
        return (*warnings_in(self.answer), *self.notes)

    @property
    def video(self) -> Mapping[str, Any]:
        """The facts of the video: width, height, fps, frames, duration_s, size_bytes, codec. Empty if unknown."""
        video = self._named("video")
        return video if isinstance(video, Mapping) else {}

    @property
    def engine(self) -> str | None:
        """The engine that rendered, None if the answer names none."""
        engine = self._named("engine")
        return engine if isinstance(engine, str) else None

    def _named(self, name: str) -> Any:
        return self.answer.get(name) if isinstance(self.answer, Mapping) else None
