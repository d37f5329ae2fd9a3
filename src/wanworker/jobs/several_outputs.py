"""Render a job's outputs one after the other, each with its own seed. One that fails does not take the others along."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from wanworker.engines.base import Rendered, Report
from wanworker.errors import DiskFull, EngineTimeout, RequestError, WorkerError
from wanworker.jobs.model import FailedOutput, JobError, JobStatus, Output
from wanworker.progress import Progress

#: Seeds are 64 bits.
_SEEDS = 2**64

#: After these, the outputs that are left would end in the same way.
_ENDS_ALL = (DiskFull, EngineTimeout, RequestError)

#: Render output *number*, from 1, with *seed*, and tell its own progress.
RenderOne = Callable[[int, int, Report], Awaitable[tuple[Rendered, tuple[Output, ...]]]]


def seeds_from(seed: int, count: int) -> tuple[int, ...]:
    """Return the seeds of *count* outputs: *seed*, *seed* + 1 and so on; after 2^64 - 1 comes 0."""
    return tuple((seed + number) % _SEEDS for number in range(count))


def number_of(seed: int, first: int) -> int:
    """Return which output, from 1, has *seed* where the first one has the seed *first*."""
    return (seed - first) % _SEEDS + 1


@dataclass(slots=True)
class Made:
    """Hold the outputs of a job so far, what the engine said of each, and those that failed."""

    rendered: list[Rendered] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    failed: list[FailedOutput] = field(default_factory=list)

    def merged(self) -> Rendered:
        """Return one result for all: the warnings of each once, the seconds added up, the rest as the first has it."""
        timings: dict[str, float] = {}
        for each in self.rendered:
            for name, seconds in each.timings.items():
                timings[name] = timings.get(name, 0.0) + seconds
        lines = dict.fromkeys(line for each in self.rendered for line in each.warnings)
        return dataclasses.replace(self.rendered[0], warnings=tuple(lines), timings=timings)

    def warnings(self, first: int) -> tuple[str, ...]:
        """Return a line for each output that failed; *first* is the seed of the first one."""
        return tuple(
            f"output {number_of(failure.seed, first)} (seed {failure.seed}) failed: {failure.error.text}"
            for failure in self.failed
        )


async def render_each(
    seeds: Sequence[int],
    render_one: RenderOne,
    *,
    report: Report,
    keep: Callable[[tuple[Output, ...]], Awaitable[None]],
) -> Made:
    """
    Render an output for each of *seeds*. *keep* gets all that are done whenever another one is.

    A failure of one is noted, and the next is rendered. After a missed deadline, on a full disk and for a request that
    the engine refuses, the rest is not tried. Raises the first WorkerError if no output was made. On cancellation, what
    is done has been kept.
    """
    made = Made()
    first_error: WorkerError | None = None
    for number, seed in enumerate(seeds, start=1):
        try:
            rendered, outputs = await render_one(number, seed, _shared(report, number, len(seeds)))
        except WorkerError as error:
            first_error = first_error or error
            is_over = isinstance(error, _ENDS_ALL)
            made.failed += [_failed(lost, error) for lost in (seeds[number - 1 :] if is_over else [seed])]
            if is_over:
                break
            continue
        made.rendered.append(rendered)
        made.outputs += outputs
        if number < len(seeds):
            await keep(tuple(made.outputs))
    if not made.outputs and first_error is not None:
        raise first_error
    return made


def _failed(seed: int, error: WorkerError) -> FailedOutput:
    return FailedOutput(seed, JobStatus[error.status.upper()], JobError(error.code, str(error), error.hint))


def _shared(report: Report, number: int, count: int) -> Report:
    """Return a report that counts output *number* of *count* as its share of the whole. `eta_s` is the output's own."""

    def shared(progress: Progress) -> None:
        fraction = (number - 1 + progress.fraction) / count
        report(dataclasses.replace(progress, fraction=fraction, detail=_detail(progress, number, count)))

    return report if count == 1 else shared


def _detail(progress: Progress, number: int, count: int) -> str:
    words = f"output {number} of {count}"
    return words if progress.detail is None else f"{words}, {progress.detail}"
