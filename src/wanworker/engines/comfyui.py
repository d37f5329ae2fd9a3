"""A ComfyUI server: our own graphs for the Wan tasks, and a caller's graphs as they are."""

from __future__ import annotations

import asyncio
import functools
import time
import uuid
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from wanworker.comfyui.admission import admit
from wanworker.comfyui.client import ComfyClient
from wanworker.comfyui.connection import NOT_RESPONDING
from wanworker.comfyui.events import Event, Preview
from wanworker.comfyui.graph import Graph, with_prefix, with_uploads
from wanworker.comfyui.history import OutputFile
from wanworker.comfyui.progress import RunProgress
from wanworker.comfyui.server import Launch, Limits, Server, Status
from wanworker.comfyui.server_launch import interpreter_of
from wanworker.comfyui.watch import Finished
from wanworker.comfyui.watch import run as watch
from wanworker.engines.base import Readiness, Rendered, Report
from wanworker.engines.comfyui_callers_graph import checked_graph, fetched, uploaded
from wanworker.engines.comfyui_graphs import Filled, ModelChoice, Uploads, graph_for, missing_for, read_workflows
from wanworker.engines.comfyui_inputs import sent_inputs
from wanworker.engines.comfyui_weights import FolderLists, Lists
from wanworker.engines.preview import Previewed
from wanworker.errors import EngineUnavailable, NoOutput
from wanworker.models.hardware import Gpu, gpus
from wanworker.progress import Progress
from wanworker.settings import Settings, child_environment
from wanworker.spec import GraphSpec, RenderSpec

#: Between two looks at whether our own server still lives.
_LOOK_S = 0.2


#: A job asks twice whether the server is there, when it is checked and when it runs; the second is a moment later.
_TRUST_S = 1.0

#: The files do not change while a worker runs, and whoever fills a graph copies it.
_our_graphs = functools.cache(read_workflows)


class ComfyUI:
    """Run graphs on one server, which is started, found or remote; see comfyui/server.py."""

    def __init__(
        self,
        settings: Settings,
        *,
        gpus: Callable[[], Sequence[Gpu]] = gpus,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models_dir = f"{str(settings.ckpt_dir).rstrip('/')}/"
        self._clock = clock
        token = settings.comfyui_token.get_secret_value() if settings.comfyui_token else None
        where = _where(settings, has_gpu=lambda: bool(gpus()))
        url = where if isinstance(where, str) else where.url
        self._server = Server(where, token=token, limits=Limits(start_s=settings.comfyui_wait_s))

        def make_client() -> ComfyClient:
            return ComfyClient(url, token=token, models_place=self._models_dir)

        self._make_client = make_client
        self._url = url
        self._client: ComfyClient | None = None
        self._generation = -1
        self._answered_at = 0.0
        self._is_local = isinstance(where, Launch)
        own = (settings.comfyui_root / "models",) if settings.comfyui_root else ()
        self.lists = FolderLists((*settings.model_dirs, *own), make_client, clock=clock)

    @property
    def status(self) -> Status:
        """What is known of the server, at once."""
        return self._server.status

    async def probe(self) -> Status:
        """Ask whether a server is there, starting none; what it has is asked anew afterwards."""
        status = await self._server.probe()
        self.lists.forget(answers=status == "online")
        return status

    def readiness(self, task: str) -> Readiness:
        """Say which weights are missing: by the volume's folders for our own server, by its own word for another."""
        searched = (self._models_dir,)
        available = self.lists.from_folders() if self._is_local else self.lists.from_server_now()
        if available is None:
            silent = f"no ComfyUI server answers at {self._url}, and COMFYUI_ROOT names none"
            return Readiness(lacking=(silent,), searched=searched)
        return Readiness(missing=missing_for(task, available), searched=searched)

    async def render(self, spec: RenderSpec, out_path: Path, *, work_dir: Path, report: Report) -> Rendered:  # noqa: ARG002 - the contract's; nothing is scratch here
        """Render *spec* by one of our graphs; see Engine. Raises ModelNotFound and GraphRefused too."""
        client = await self.connected(report)
        run_id = _run_id(out_path)
        available = await self.lists.from_server(client)
        filled = self._filled(spec, await sent_inputs(client, spec, run_id), run_id, available)
        admitted = await admit(client, filled.graph)
        finished = await self._run(client, admitted.graph, report)
        await client.view(_video_of(finished.outcome.outputs, filled.saver), out_path)
        return Rendered(filled.model, (*filled.warnings, *admitted.remarks), _timings(finished))

    async def check_models(self, spec: RenderSpec, report: Report) -> None:
        """
        See that the server is there and has every file that an image-to-video *spec* loads, before one is sent.

        Raises EngineUnavailable, and ModelNotFound with the documented sentence.
        """
        available = await self.lists.from_server(await self.connected(report))
        self._filled(spec, Uploads(image="image", last_image="last_image" if spec.last_image else None), "", available)

    async def run_graph(self, spec: GraphSpec, out_dir: Path, *, work_dir: Path, report: Report) -> Rendered:  # noqa: ARG002 - the contract's; nothing is scratch here
        """Run a caller's checked graph and fetch every file that it saved; see GraphEngine."""
        client = await self.connected(report)
        run_id = _run_id(out_dir)
        graph, used = with_uploads(dict(spec.graph), await uploaded(client, spec.uploads, run_id))
        unused = [f"{upload.name} was sent and no node reads it." for upload in spec.uploads if upload.name not in used]
        # Checked when it came in; since then the server may be another one.
        admitted = await admit(client, graph)
        classes = await client.node_classes({str(node["class_type"]) for node in graph.values()})
        finished = await self._run(client, with_prefix(admitted.graph, classes, run_id), report)
        files = await fetched(client, finished.outcome.outputs, out_dir, run_id)
        left_out = [str(problem) for problem in finished.problems]
        return Rendered("comfyui", (*unused, *left_out), _timings(finished), files)

    async def checked_graph(
        self, document: Mapping[str, Any], report: Report, *, sent: Collection[str] = ()
    ) -> tuple[Graph, tuple[str, ...]]:
        """Return a caller's *document* as a graph that the server accepts; see comfyui_callers_graph.py."""
        return await checked_graph(await self.connected(report), document, sent)

    async def server_lists(self) -> Lists:
        """Return the server's own lists of model files. Raises EngineUnavailable."""
        return await self.lists.from_server(await self.connected(lambda _progress: None))

    async def connected(self, report: Report) -> ComfyClient:
        """Return a client of a server that answers, having started it if need be. Raises EngineUnavailable."""
        if self._client is not None and self.status == "online" and self._clock() - self._answered_at < _TRUST_S:
            return self._client
        await self._server.ensure(lambda stage: report(Progress(stage, 0.0)))
        self._answered_at = self._clock()
        if self._client is None:
            self._client = self._make_client()
        if self._server.generation != self._generation:
            self._client.drop_object_info()
            self._generation = self._server.generation
        return self._client

    async def close(self) -> None:
        """End our own server and all connections."""
        if self._client is not None:
            await self._client.close()
        await self._server.close()

    async def _run(self, client: ComfyClient, graph: Graph, report: Report) -> Finished:
        progress = RunProgress(graph, clock=self._clock)

        latest = Progress("sampling", 0.0)

        def hear(event: Event) -> None:
            nonlocal latest
            if isinstance(event, Preview):
                report(Previewed.of(latest, event.image, event.mime))
            elif (now := progress.hear(event)) is not None:
                latest = now
                report(now)

        prompt_id, client_id = str(uuid.uuid4()), str(uuid.uuid4())
        return await self._unless_it_dies(watch(client, graph, prompt_id=prompt_id, client_id=client_id, on_event=hear))

    async def _unless_it_dies(self, work: Coroutine[Any, Any, Finished]) -> Finished:
        """Return what *work* returns. Raises EngineUnavailable at once when our own server ends meanwhile."""
        before = self._server.last_end
        running = asyncio.create_task(work)
        try:
            while not running.done() and self._server.last_end is before:
                await asyncio.wait({running}, timeout=_LOOK_S)
            if running.done():
                return running.result()
        except EngineUnavailable:
            if self._server.last_end is before:
                raise
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        message = f"{NOT_RESPONDING}. It ended in the middle of the run. {self._server.last_end}"
        raise EngineUnavailable(message, hint="Send the request again: the server is started again for the next job.")

    def _filled(self, spec: RenderSpec, uploads: Uploads, run_id: str, available: Lists) -> Filled:
        return graph_for(
            spec,
            ModelChoice(spec.diffusion_models, spec.vae_model, single_expert=spec.single_expert),
            uploads,
            run_id,
            graphs=_our_graphs(),
            available=available,
            models_dir=self._models_dir.rstrip("/"),
        )


def _where(settings: Settings, *, has_gpu: Callable[[], bool]) -> str | Launch:
    """Return the server to use: COMFYUI_URL, else the checkout at COMFYUI_ROOT, else whatever listens on the port."""
    if settings.comfyui_url or settings.comfyui_root is None:
        return settings.comfyui_base_url
    root = settings.comfyui_root
    return Launch(
        root=root,
        python=settings.comfyui_python or interpreter_of(root),
        env=child_environment(),
        work_dir=settings.scratch_dir / f"comfyui-{settings.comfyui_port}",
        port=settings.comfyui_port,
        model_roots=settings.model_dirs,
        cpu=not has_gpu(),
        preview_method="auto",
        # Without metadata the same request gives the same bytes: no graph, no request id inside the file.
        arguments=("--disable-metadata", *settings.comfyui_args),
    )


def _run_id(out_path: Path) -> str:
    """Return request id and attempt, as the hidden name of the output carries them: own names for each run."""
    return out_path.name.removeprefix(".").partition(".part")[0]


def _video_of(outputs: Sequence[OutputFile], saver: str) -> OutputFile:
    for output in outputs:
        if output.node == saver:
            return output
    raise NoOutput("The graph ran and its saving node left no file.")


def _timings(finished: Finished) -> Mapping[str, float]:
    seconds = finished.outcome.execution_s
    return {} if seconds is None else {"execution_s": seconds}
