"""Follow one run on a ComfyUI server: report its events as progress and its previews as pictures."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from wanworker.comfyui.client.events import Event, Preview
from wanworker.comfyui.client.http import ComfyClient
from wanworker.comfyui.graph.api_format import Graph
from wanworker.comfyui.run.monitor import Finished, run_prompt
from wanworker.comfyui.run.progress import RunProgress
from wanworker.engines.base import Report
from wanworker.engines.preview import Previewed
from wanworker.progress import Progress


async def followed(client: ComfyClient, graph: Graph, report: Report, *, clock: Callable[[], float]) -> Finished:
    """Run *graph* under ids of its own and return how it finished; see run_prompt for what it raises."""
    progress = RunProgress(graph, clock=clock)
    latest = Progress("sampling", 0.0)

    def hear(event: Event) -> None:
        nonlocal latest
        if isinstance(event, Preview):
            report(Previewed.of(latest, event.image, event.mime))
        elif (now := progress.hear(event)) is not None:
            latest = now
            report(now)

    prompt_id, client_id = str(uuid.uuid4()), str(uuid.uuid4())
    return await run_prompt(client, graph, prompt_id=prompt_id, client_id=client_id, on_event=hear)
