"""The ComfyUI engine: our graphs for the Wan tasks, and callers' own graphs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from wanworker.comfyui.client.http import ComfyClient
from wanworker.comfyui.graph.api_format import Graph, with_prefix, with_uploads
from wanworker.comfyui.graph.problems import as_warning
from wanworker.comfyui.run.free_memory import free_memory
from wanworker.comfyui.run.monitor import Finished
from wanworker.comfyui.run.monitor import Limits as RunLimits
from wanworker.comfyui.run.validate import validate
from wanworker.comfyui.server.supervisor import Launch, Limits, Server, Status
from wanworker.engines.base import Forecast, Readiness, Rendered, Report
from wanworker.engines.comfyui._graph_run import tracked_run, video_of
from wanworker.engines.comfyui._inputs import named_inputs, sent_inputs
from wanworker.engines.comfyui._restart import Attempt, with_one_restart
from wanworker.engines.comfyui._server_location import has_our_gpu, lacks, server_place
from wanworker.engines.comfyui._slots import Listed, server_choices, workflow_slots
from wanworker.engines.comfyui._startup_timings import Waits
from wanworker.engines.comfyui._unstopped_runs import StopLimits, UnstoppedRuns
from wanworker.engines.comfyui._user_graph import (
    CheckedGraph,
    checked_graph,
    fetched,
    naming_left_out,
    naming_unused,
    unread,
    uploaded,
)
from wanworker.engines.comfyui.graphs import Filled, ModelChoice, Uploads, graph_for, missing_for, read_workflows
from wanworker.engines.comfyui.weights import ClassChoices, FolderLists, Lists
from wanworker.errors import GraphRefused, ModelNotFound
from wanworker.models.machine import hardware
from wanworker.models.machine.hardware import Gpu
from wanworker.settings import Settings
from wanworker.spec import GraphSpec, RenderSpec

#: Seconds that an answer of the server stays valid. A job asks at its check, and a moment later when it runs.
_TRUST_S = 1.0

#: How long another engine waits for the server's memory. A run of somebody else there may take longer; then the two
#: engines try to share the card.
_UNLOAD_S = 60.0

_NOT_ASKED = "No ComfyUI server runs here now: what it would say of the graph is only known once it is started."

#: The files of workflows/ do not change while a worker runs, and filling a graph copies it.
_our_graphs = functools.cache(read_workflows)


class ComfyUI:
    """Run graphs on one server, which is started, found or remote; see wanworker/comfyui/server/supervisor.py."""

    def __init__(
        self,
        settings: Settings,
        *,
        gpus: Callable[[], Sequence[Gpu]] | None = None,
        clock: Callable[[], float] = time.monotonic,
        stop_limits: StopLimits | None = None,
        answer_s: float = 8.0,
    ) -> None:
        self._models_dir = f"{str(settings.ckpt_dir).rstrip('/')}/"
        self._gpus = gpus or functools.partial(hardware.gpus, settings.card.visible)
        self._clock = clock
        token = settings.comfyui_token.get_secret_value() if settings.comfyui_token else None
        where = server_place(settings, self._gpus)
        url = where if isinstance(where, str) else where.url
        asking = {"connect_s": answer_s / 2, "answer_s": answer_s}
        self._server = Server(where, token=token, limits=Limits(start_s=settings.comfyui_wait_s, **asking))
        self._make_client = functools.partial(ComfyClient, url, token=token, models_place=self._models_dir, **asking)
        self._url = url
        self._client: ComfyClient | None = None
        self._generation = -1
        self._answered_at = 0.0
        self._waits = Waits(clock)
        self._stop_limits = stop_limits or StopLimits()
        self._unstopped = UnstoppedRuns(self._server, self._own_client, url, limits=self._stop_limits, clock=clock)
        self._launch = where if isinstance(where, Launch) else None
        # The server's own folders come first, as in its own search.
        own = (settings.comfyui_root / "models",) if settings.comfyui_root else ()
        self.lists = FolderLists((*own, *settings.model_dirs), self._make_client, clock=clock)

    @property
    def status(self) -> Status:
        """Return the known status of the server at once."""
        return self._server.status

    async def probe(self) -> Status:
        """Ask whether a server is there, without starting one. Its model lists are then read again."""
        status = await self._server.probe()
        self.lists.forget(answers=status == "online")
        return status

    def readiness(self, task: str) -> Readiness:
        """Say which weights are missing. Our own server is judged by the volume's folders, another by its own lists."""
        if self._launch is not None:
            lacking = lacks(self._launch, is_up=self.status == "online")
            return Readiness(self.missing_on_disk(task), self.lists.places, lacking)
        searched = (f"the models of the ComfyUI server at {self._url}",)
        available = self.lists.from_server_now()
        if available is None:
            silent = f"no ComfyUI server answers at {self._url}, and COMFYUI_ROOT names none"
            return Readiness(lacking=(silent,), searched=searched)
        return Readiness(missing=missing_for(task, available), searched=searched)

    def missing_on_disk(self, task: str) -> tuple[str, ...]:
        """Return a line for each file of *task* that is missing from the volume's folders or incomplete."""
        return missing_for(task, *self.lists.examined())

    async def forecast(self, spec: RenderSpec) -> Forecast:
        """
        Say what would be rendered; see Engine. A server that answers is asked, for one that we would start the volume's
        folders count. Raises EngineUnavailable, ModelNotFound and GraphRefused.
        """
        uploads = await named_inputs(spec, "plan")
        if self._launch is None:
            client = await self._answering(lambda _progress: None)  # it only asks
        elif await self._server.probe() == "online":
            client = self._own_client()
        else:
            lists = (await asyncio.to_thread(self.lists.examined))[0]
            filled = await asyncio.to_thread(self._filled_by, lists, spec, uploads, "plan")
            return filled.forecast(spec.size, unknown=(_NOT_ASKED,))
        filled = await self._filled(client, spec, uploads, "plan")
        checked = await validate(client, filled.graph, set(uploads.given().values()))
        return filled.forecast(spec.size, checked.remarks)

    async def render(self, spec: RenderSpec, out_path: Path, *, work_dir: Path, report: Report) -> Rendered:
        """Render *spec* by one of our graphs; see Engine. Raises ModelNotFound and GraphRefused too."""

        async def run(attempt: Attempt) -> Rendered:
            client, run_id = await self.connected(report), attempt.run_id
            filled = await self._filled(client, spec, await sent_inputs(client, spec, run_id, work_dir), run_id)
            checked = await validate(client, filled.graph)
            finished = await self._run(client, checked.graph, report, attempt)
            await client.view(video_of(finished.outcome.outputs, filled.saver), out_path)
            warnings = (*filled.warnings, *checked.remarks)
            return Rendered(filled.model, warnings, self._timings(finished), sampling=filled.sampling)

        try:
            return await with_one_restart(self._server, _run_id(out_path), run)
        except (GraphRefused, ModelNotFound):  # its error is more precise
            self.lists.forget(answers=True)
            raise

    async def check_models(self, spec: RenderSpec, report: Report) -> None:
        """
        Check that the server is there and has every file that an image-to-video *spec* loads, before any file is sent.
        Raises EngineUnavailable, and ModelNotFound with the documented sentence.
        """
        uploads = Uploads(image="image", last_image="last_image" if spec.last_image else None)
        await self._filled(await self.connected(report), spec, uploads, "")

    async def run_graph(self, spec: GraphSpec, out_dir: Path, *, work_dir: Path, report: Report) -> Rendered:  # noqa: ARG002 - the contract's; nothing is scratch here
        """Run a caller's checked graph and fetch every file that it saved; see GraphEngine."""

        async def run(attempt: Attempt) -> Rendered:
            client, run_id = await self.connected(report), attempt.run_id
            is_ours = self._server.is_ours
            graph, used = with_uploads(dict(spec.graph), await uploaded(client, spec.uploads, run_id))
            unused = unread(used, [each.name for each in spec.uploads])
            # The graph was checked when it arrived, but the server may be another one now.
            with naming_unused(unused):
                checked = await validate(client, graph)
                classes = await client.node_classes({str(node["class_type"]) for node in graph.values()})
                graph = with_prefix(checked.graph, classes, run_id)
                left_out = [as_warning(problem) for problem in checked.left_out]
                with naming_left_out([*spec.left_out, *left_out]):
                    finished = await self._run(client, graph, report, attempt)
            left_out += [as_warning(problem) for problem in finished.problems]
            with naming_left_out([*spec.left_out, *left_out]):
                got = await fetched(client, finished.outcome.outputs, out_dir, run_id, may_restart=is_ours)
            warnings = (*unused, *left_out, *got.warnings)
            return Rendered("comfyui", warnings, self._timings(finished), got.files)

        return await with_one_restart(self._server, _run_id(out_dir), run)

    async def checked_graph(
        self,
        document: Mapping[str, Any],
        report: Report,
        *,
        sent: Collection[str] = (),
        slots: Mapping[str, Any] | None = None,
    ) -> CheckedGraph:
        """Return a caller's *document* as a graph that the server accepts; see _user_graph.py."""
        return await checked_graph(await self.connected(report), document, sent, slots or {})

    async def slots_of(self, document: Mapping[str, Any], *, is_online: bool) -> Listed:
        """Return what a request may set in *document*. The server is asked if it *is_online*; see _slots.py."""
        return await workflow_slots(self._own_client() if is_online else None, document)

    async def server_choices(self, classes: Collection[str]) -> ClassChoices:
        """Return the server's own current choices of *classes*; see _slots.py. Raises EngineUnavailable."""
        return await server_choices(await self._answering(lambda _progress: None), classes)

    async def server_lists(self) -> Lists:
        """Return the server's own current lists of model files. Raises EngineUnavailable."""
        client = await self._answering(lambda _progress: None)
        self.lists.forget(answers=True)
        return await self.lists.from_server(client)

    async def connected(self, report: Report) -> ComfyClient:
        """
        Return a client of a server that answers and can take a run, after starting the server if needed.

        Raises EngineUnavailable, also if the server has not stopped an earlier run and we cannot restart it.
        """
        await self._unstopped.check()
        return await self._answering(report)

    async def _answering(self, report: Report) -> ComfyClient:
        """Return a client of a server that answers, after starting it if needed. Raises EngineUnavailable."""
        await self._unstopped.settled()
        if self._client is not None and self.status == "online" and self._clock() - self._answered_at < _TRUST_S:
            return self._client
        with self._waits.measured(report) as hear:
            await self._server.ensure(hear)
        self._answered_at = self._clock()
        client = self._own_client()
        if self._server.generation != self._generation:
            client.drop_object_info()
            self.lists.forget(answers=True)
            self._generation = self._server.generation
        return client

    async def preload(self, task: str | None) -> None:  # noqa: ARG002 - the contract's; one server serves them all
        """Start the server; see PreloadingEngine. It loads weights only when a graph needs them."""
        await self._answering(lambda _progress: None)

    def renders_on_gpu(self) -> bool:
        """Say whether the server is on this machine and uses its GPU; see GpuEngine."""
        return has_our_gpu(self._launch or self._url, self._gpus)

    async def release_gpu(self) -> None:
        """Make a server of this machine unload its models; see GpuEngine. A start goes on, because it loads none."""
        await self._unstopped.settled()  # a server that hangs has been ended by now, and its memory is free
        if self.renders_on_gpu() and await self._server.probe() == "online":
            await free_memory(self._own_client(), within_s=_UNLOAD_S)

    async def close(self) -> None:
        """End our own server and all connections."""
        await self._unstopped.close()
        if self._client is not None:
            await self._client.close()
        await self._server.close()

    async def _run(self, client: ComfyClient, graph: Graph, report: Report, attempt: Attempt) -> Finished:
        limits = RunLimits(stop_s=self._stop_limits.stop_s)
        run = functools.partial(tracked_run, limits=limits, clock=self._clock)
        return await run(client, graph, report, on_queued=attempt.note_queued, on_left=self._unstopped.add)

    def _own_client(self) -> ComfyClient:
        self._client = self._client or self._make_client()
        return self._client

    def _timings(self, finished: Finished) -> Mapping[str, float]:
        seconds = finished.outcome.execution_s
        return self._waits.told() | ({} if seconds is None else {"execution_s": seconds})

    async def _filled(self, client: ComfyClient, spec: RenderSpec, uploads: Uploads, run_id: str) -> Filled:
        """Return the graph of *spec*. A file that is not in the lists may be new, so they are read once more."""
        with contextlib.suppress(ModelNotFound):
            return await self._filled_now(client, spec, uploads, run_id)
        self.lists.forget(answers=True)
        return await self._filled_now(client, spec, uploads, run_id)

    async def _filled_now(self, client: ComfyClient, spec: RenderSpec, uploads: Uploads, run_id: str) -> Filled:
        lists = await self.lists.usable(client, is_local=self._launch is not None)
        return await asyncio.to_thread(self._filled_by, lists, spec, uploads, run_id)

    def _filled_by(self, available: Lists, spec: RenderSpec, uploads: Uploads, run_id: str) -> Filled:
        try:
            return graph_for(
                spec,
                ModelChoice(spec.diffusion_models, spec.vae_model, single_expert=spec.single_expert),
                uploads,
                run_id,
                graphs=_our_graphs(),
                available=available,
                models_dir=self._models_dir.rstrip("/"),
            )
        except ModelNotFound as error:
            raise (error if self._launch is None else self.lists.with_damage(error)) from error


def _run_id(out_path: Path) -> str:
    """Return the request id and attempt, which the output's hidden name has. They make the names of each run unique."""
    return out_path.name.removeprefix(".").partition(".part")[0]
