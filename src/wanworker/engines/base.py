"""The interface of an engine: capabilities and readiness as data, and a method that renders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from wanworker.progress import Progress
from wanworker.recipes.sampling import Sampling
from wanworker.settings import Settings
from wanworker.spec import GraphSpec, RenderSpec, Size

Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """
    Say as data what an engine can do, for auto, doctor, the documents and the page.

    `sizes` lists the only sizes of a task; a task that is not in it takes any multiple of its own `size_multiple`.
    `any_size` means that the engine resamples to whatever is asked. The booleans name features of a request;
    `prepares_motion` says that animate's driving video need not come as a prepared folder, `names_models` that a
    request can choose among the weights, `profiles` that it can say what is traded for time, `crf` that the engine
    writes the file in the quality that is asked for (that of another engine is encoded again), `upscale_models` that it
    can name the model that enlarges the clip.
    """

    tasks: frozenset[str]
    sizes: Mapping[str, tuple[Size, ...]] = field(default_factory=dict)
    any_size: bool = False
    keeps_picture_aspect: frozenset[str] = frozenset()
    negative_prompt: bool = False
    fps: bool = False
    lora: bool = False
    last_image: frozenset[str] = frozenset()
    guidance_per_expert: bool = False
    prepares_motion: bool = False
    profiles: bool = False
    names_models: bool = False
    crf: bool = False
    upscale_models: bool = False


@dataclass(frozen=True, slots=True)
class Readiness:
    """
    Say whether an engine can render a task here.

    `missing` lists weights and programs that are not there, and `searched` the places that were looked at;
    `lacking` lists what the machine lacks (no GPU, too little memory): auto passes such an engine over, a named one
    is tried all the same with these lines as warnings. `plan` is where the weights would be, for an engine that decides
    it.
    """

    missing: tuple[str, ...] = ()
    searched: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    plan: Mapping[str, Any] | None = None

    @property
    def has_weights(self) -> bool:
        """Say whether everything that has to be installed is there."""
        return not self.missing

    @property
    def is_ready(self) -> bool:
        """Say whether weights and hardware are both there."""
        return not self.missing and not self.lacking


@dataclass(frozen=True, slots=True)
class Forecast:
    """
    Hold what an engine has decided about a spec before it renders it.

    `size`, `frames` and `fps` are the file's; None is what only the render will show, and `unknown` has a sentence for
    each of these and for whatever else cannot be known before. `placement` is as in Rendered.
    """

    model: str
    sampling: Sampling | None
    size: Size | None
    frames: int | None
    fps: float | None
    warnings: tuple[str, ...] = ()
    placement: Mapping[str, Any] | None = None
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rendered:
    """
    Hold what an engine reports of a finished render.

    `files` are what a graph made, in its own order; a render's one file is the path that the engine was given.
    `placement` is where the weights were and what was traded for time, from an engine that decides it. A graph of the
    caller's own has no `sampling` that is known.
    """

    model: str
    warnings: tuple[str, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    placement: Mapping[str, Any] | None = None
    sampling: Sampling | None = None


class Engine(Protocol):
    """Make one video file from one spec."""

    def readiness(self, task: str) -> Readiness:
        """Say whether *task* can be rendered here. Cheap: reads the disk and starts nothing."""

    async def forecast(self, spec: RenderSpec) -> Forecast:
        """
        Return what `render` would decide about *spec* now, by the same code.

        Starts no server and no program that renders, fetches nothing and writes nothing. Raises what `render` would
        raise before it renders.
        """

    async def render(self, spec: RenderSpec, out_path: Path, *, work_dir: Path, report: Report) -> Rendered:
        """
        Write *out_path* (an .mp4 that does not exist yet). Temporary files go below *work_dir*.

        Raises EngineError. On cancellation it stops everything that it started before CancelledError is raised, and
        leaves no process, no queue entry and no half file. The caller keeps deadlines: they arrive as cancellation.
        """

    async def close(self) -> None:
        """Stop everything that still runs. Called once, when the worker ends."""


@runtime_checkable
class GraphEngine(Engine, Protocol):
    """Define an engine that also runs a caller's own graph."""

    async def run_graph(self, spec: GraphSpec, out_dir: Path, *, work_dir: Path, report: Report) -> Rendered:
        """Write every output of the graph into *out_dir* (an empty folder), and name them; otherwise like `render`."""


@runtime_checkable
class RemoteEngine(Engine, Protocol):
    """Define an engine that renders on other machines, where a render goes on when this process ends."""

    async def render_as(
        self, name: str, spec: RenderSpec, out_path: Path, *, work_dir: Path, report: Report, timeout_s: float
    ) -> Rendered:
        """
        Render as `render` does, under a *name* by which a later process finds the same render again.

        *name* is safe as a file name. *timeout_s* is how long the render may take, for the deadline over there.
        """

    def announce(self, name: str) -> None:
        """
        Note that a render is about to begin, before its job is recorded as begun. Blocks for a moment.

        A process that dies in between leaves a job that the next one takes up.
        """

    def leave_jobs(self) -> None:
        """Let the renders go on over there when they are cancelled from now on: this process ends, and comes again."""


@runtime_checkable
class PlanningEngine(Engine, Protocol):
    """Define an engine whose need of the machine depends on the job."""

    def readiness_for(self, spec: RenderSpec) -> Readiness:
        """Say whether *spec* can be rendered here: its size, frames, profile and models count. Else as `readiness`."""


@runtime_checkable
class PreloadingEngine(Engine, Protocol):
    """Define an engine that keeps something warm between jobs, and can load it before the first job."""

    async def preload(self, task: str | None) -> None:
        """
        Load what a plain job of *task* would wait for, or (None) what jobs of every task would.

        A job that comes meanwhile does not queue behind this: it waits for the same load, or goes first. Raises
        WorkerError. What was loaded stays for the jobs, until `close`.
        """


@runtime_checkable
class GpuEngine(Engine, Protocol):
    """
    Define an engine that renders on this machine's GPU. Only one holds weights at a time, because two sets do not fit.
    """

    def renders_on_gpu(self) -> bool:
        """Say whether a render takes memory of a GPU of this machine. May block for seconds; starts nothing."""

    async def release_gpu(self) -> None:
        """
        Free the GPU memory that is kept between jobs, and return when it is free, because another engine renders next.

        A running preload ends, and later ones are refused until this engine has rendered a job. Never called while a
        job renders here. Raises WorkerError.
        """


def _on_every_card(_settings: Settings) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class EngineRow:
    """
    Hold a row of the ENGINES table: name, capabilities, and how to build the engine from the settings.

    `remote_slots` is for an engine that renders on other machines: how many jobs it takes at once, beside those of this
    machine. None is an engine of this machine. `has_one_place` says of an engine of this machine that it renders on the
    first card only, whatever WAN_GPUS names.
    """

    name: str
    capabilities: Capabilities
    build: Callable[[Settings], Engine]
    remote_slots: Callable[[Settings], int] | None = None
    has_one_place: Callable[[Settings], bool] = _on_every_card
