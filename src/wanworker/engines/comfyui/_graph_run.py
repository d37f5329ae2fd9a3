"""Run one graph under its own ids, and turn what the server tells into the job's progress."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

from wanworker.comfyui.client.events import Event, Preview
from wanworker.comfyui.client.history import OutputFile
from wanworker.comfyui.client.http import ComfyClient
from wanworker.comfyui.graph.api_format import Graph
from wanworker.comfyui.run.monitor import Finished, Limits, run_prompt
from wanworker.comfyui.run.progress import RunProgress
from wanworker.engines.base import Report
from wanworker.engines.preview import Previewed
from wanworker.errors import NoOutput
from wanworker.progress import Progress


def video_of(outputs: Sequence[OutputFile], saver: str) -> OutputFile:
    """Return the file of the node *saver*. Raises NoOutput."""
    for output in outputs:
        if output.node == saver:
            return output
    raise NoOutput("The graph ran, but its saving node left no file.")


async def tracked_run(
    client: ComfyClient,
    graph: Graph,
    report: Report,
    *,
    limits: Limits,
    on_queued: Callable[[], None],
    on_left: Callable[[str], None],
    clock: Callable[[], float],
) -> Finished:
    """
    Run *graph* under its own new ids and return how it finished. See run_prompt for *on_queued* and *on_left*, and for
    the errors.

    While other prompts run first, *report* gets the stage "waiting", with their number as its detail.
    """
    progress = RunProgress(graph, clock=clock)
    latest = Progress("sampling", 0.0)

    def hear(event: Event) -> None:
        nonlocal latest
        if isinstance(event, Preview):
            report(Previewed.of(latest, event.image, event.mime))
        elif (now := progress.hear(event)) is not None:
            latest = now
            report(now)

    def wait(ahead: int) -> None:
        report(Progress("waiting", 0.0, detail=f"{ahead} prompt{'' if ahead == 1 else 's'} ahead"))

    prompt_id, client_id = str(uuid.uuid4()), str(uuid.uuid4())
    return await run_prompt(
        client,
        graph,
        prompt_id=prompt_id,
        client_id=client_id,
        on_event=hear,
        on_wait=wait,
        limits=limits,
        on_queued=on_queued,
        on_left=on_left,
    )
