"""Find one of a job's videos, and the name under which it is remembered. Pure."""

from __future__ import annotations

from pathlib import Path

from wanworker.errors import UnknownJob
from wanworker.jobs.model import Job, Output
from wanworker.jobs.several_outputs import number_of
from wanworker.rest.http.errors import Gone, NotReady


def name_of(output: Output) -> str:
    """Return the name of the output's file without its ending. The only or the first video has its job's id."""
    return Path(output.path).stem


def shown_outputs(job: Job) -> list[Output]:
    """Return the outputs that can be downloaded: the first, and the others where several videos were asked for."""
    return [output for output in job.outputs if output is job.outputs[0] or output.seed is not None]


def output_of(job: Job, number: int | None) -> Output:
    """
    Return output *number* of the COMPLETED *job*, from 1, or the first one that was made.

    Raises NotReady for one that failed, UnknownJob for a number that it has not, Gone where it has no output.
    """
    if number is None and job.outputs:
        return job.outputs[0]
    first = job.seed or 0
    for output in job.outputs:
        if number == (1 if output.seed is None else number_of(output.seed, first)):
            return output
    for lost in job.failed_outputs:
        if number == number_of(lost.seed, first):
            raise NotReady(f"Output {number} of job {job.request_id} has no video: it failed: {lost.error.text}")
    raise gone(job.request_id) if number is None else UnknownJob(f"Job {job.request_id} has no output {number}.")


def gone(request_id: str) -> Gone:
    """Return the error for a video that no longer exists."""
    return Gone(f"The video of job {request_id} is no longer here: it was downloaded or has expired.")
