"""Run Wan's own generate.py as an engine. It has every task, and loads the weights for each job."""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from wanworker import process
from wanworker.clocks.awake import Silence
from wanworker.engines.base import Forecast, Readiness, Rendered, Report
from wanworker.engines.wan_cli import _animate as animate
from wanworker.engines.wan_cli import _s2v as speech
from wanworker.engines.wan_cli._failure import Context, failure
from wanworker.engines.wan_cli._log import Reading
from wanworker.engines.wan_cli._machine import (
    found_program,
    gpu_lacks,
    host_lacks,
    python_lacks,
    upstream_environment,
)
from wanworker.engines.wan_cli._output import Verify, check, move
from wanworker.engines.wan_cli.argv import Places, argv_for, processes_for
from wanworker.engines.wan_cli.checkpoint import locate
from wanworker.errors import EngineFailed, EngineUnavailable
from wanworker.media.video.writer import decode_check
from wanworker.models.machine.hardware import Gpu, available_memory_mib, gpus
from wanworker.recipes.sampling import sampling_for
from wanworker.settings import Settings, child_environment
from wanworker.spec import TASKS, RenderSpec, task_named

log = logging.getLogger(__name__)

#: How long upstream's programs may write nothing, in seconds. They write a bar for each shard and each step, but
#: decoding a long video is silent for minutes.
_STALL_S = 1800.0

_STALL_HINT = "Send the request again. If that hangs too, the GPU's driver or the volume may be at fault."

_GENERATE, _PREPROCESS = "generate.py", "preprocess_data.py"


class WanCli:
    """Start generate.py for each render, follow its output, and check the file that it leaves."""

    def __init__(
        self,
        *,
        home: Path,
        python: str,
        model_dirs: Sequence[Path],
        env: Mapping[str, str],
        gpus: Callable[[], Sequence[Gpu]] = gpus,
        available_memory_mib: Callable[[], int | None] = available_memory_mib,
        verify: Verify = decode_check,
        clock: Callable[[], float] = time.monotonic,
        stop_grace_s: float = 2.0,
        stall_s: float = _STALL_S,
    ) -> None:
        """
        Prepare the engine, without starting anything.

        *home* is upstream's checkout, *python* its interpreter (a path or a name on PATH), *env* its whole environment.
        """
        self._home = home.absolute()
        self._python = python
        self._model_dirs = tuple(folder.absolute() for folder in model_dirs)
        self._env = env
        self._gpus = gpus
        self._available_memory_mib = available_memory_mib
        self._verify = verify
        self._clock = clock
        self._stop_grace_s, self._stall_s = stop_grace_s, stall_s
        self._python_lacks: tuple[str, ...] | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> WanCli:
        """Build the engine that the settings describe. Starts and reads nothing yet."""
        python = settings.wan_interpreter
        is_name = len(python.parts) == 1
        return cls(
            home=settings.wan_home,
            python=str(python if is_name else python.absolute()),
            model_dirs=settings.model_dirs,
            env=upstream_environment(child_environment(card=settings.card)),
            gpus=functools.partial(gpus, settings.card.visible),
        )

    def readiness(self, task: str) -> Readiness:
        """
        Say whether *task* can be rendered here. If its weights are there, the interpreter is asked once what it lacks.
        """
        located = locate(task_named(task), self._model_dirs)
        missing = (*self._programs_missing(), *located.missing)
        if missing:
            return Readiness(missing=missing, searched=located.searched)
        if self._python_lacks is None:
            self._python_lacks = python_lacks(self._python, self._home, self._env)
        machine = (*gpu_lacks(task, self._cards()), *host_lacks(task, self._available_memory_mib()))
        return Readiness(searched=located.searched, lacking=(*machine, *self._python_lacks))

    async def forecast(self, spec: RenderSpec) -> Forecast:
        """Say what generate.py would be told; see Engine. Raises EngineUnavailable, and what `render` does."""
        return (await asyncio.to_thread(self._decided, spec))[1]

    async def render(self, spec: RenderSpec, out_path: Path, *, work_dir: Path, report: Report) -> Rendered:
        """
        Write *out_path*. Everything else goes into a folder below *work_dir* that is removed at the end.

        Raises InputUnavailable for an incomplete prepared folder, else EngineError: EngineUnavailable, OutOfMemory,
        DiskFull, EngineFailed, and NoOutput if the file is missing, damaged or silent.
        """
        ckpt_dir, decided = await asyncio.to_thread(self._decided, spec)
        reading = Reading(report, experts=_experts(spec), clips=await _clips(spec), clock=self._clock)
        with tempfile.TemporaryDirectory(prefix="wan_cli-", dir=work_dir, ignore_cleanup_errors=True) as folder:
            made = Path(folder).absolute() / "video.mp4"
            places = await self._places(spec, ckpt_dir, made, reading)
            await self._generate(spec, places, reading)
            reading.enter("verifying")
            await check(made, self._verify, needs_sound=spec.audio is not None, told=reading.told())
            await move(made, out_path)
        return Rendered(decided.model, decided.warnings, reading.timings(), sampling=decided.sampling)

    def renders_on_gpu(self) -> bool:
        """Say whether upstream's program sees a GPU; see GpuEngine."""
        return bool(self._cards())

    async def release_gpu(self) -> None:
        """Do nothing: between renders nothing is loaded."""

    async def close(self) -> None:
        """Do nothing: between renders nothing runs."""

    def _cards(self) -> tuple[Gpu, ...]:
        return tuple(self._gpus())

    def _decided(self, spec: RenderSpec) -> tuple[Path, Forecast]:
        """Return the checkpoint's folder, and everything that is known before the program runs."""
        located = locate(task_named(spec.task), self._model_dirs)
        missing = (*self._programs_missing(), *located.missing)
        if located.folder is None or missing:
            raise EngineUnavailable(f"wan_cli cannot render {spec.task}: {'; '.join(missing)}.")
        if spec.task == "animate-14B":
            self._check_motion(spec, located.folder)
        unknown = _unknown(spec)
        forecast = Forecast(
            located.folder.name,
            sampling_for(spec, None, []),
            None if "size" in unknown else spec.size,
            None if "frames" in unknown else spec.frames or TASKS[spec.task].frames,
            None if spec.task == "animate-14B" else float(TASKS[spec.task].fps),
            self._ignored(spec),
            unknown=tuple(unknown.values()),
        )
        return located.folder, forecast

    def _check_motion(self, spec: RenderSpec, ckpt_dir: Path) -> None:
        if spec.prepared_dir is not None:
            animate.check_given(spec.prepared_dir)
        else:
            animate.preprocessing_argv(
                spec, python=self._python, home=self._home, ckpt_dir=ckpt_dir, target=Path("prepared")
            )

    def _programs_missing(self) -> tuple[str, ...]:
        missing = []
        if not (self._home / _GENERATE).is_file():
            missing.append(f"{self._home / _GENERATE} is missing (WAN_HOME is upstream's checkout)")
        if not found_program(self._python, self._env):
            missing.append(f"the interpreter {self._python} is missing (WAN_PYTHON)")
        return tuple(missing)

    async def _places(self, spec: RenderSpec, ckpt_dir: Path, made: Path, reading: Reading) -> Places:
        if spec.task != "animate-14B":
            return Places(self._python, ckpt_dir, made)
        source = spec.prepared_dir
        if source is None:
            source = made.parent / "prepared"
            argv = animate.preprocessing_argv(
                spec, python=self._python, home=self._home, ckpt_dir=ckpt_dir, target=source
            )
            reading.enter("preparing")
            await self._run(_PREPROCESS, argv, self._env, reading)
            animate.check_made(source)
        return Places(self._python, ckpt_dir, made, source, animate.replaces(source), animate.has_relighting(ckpt_dir))

    async def _generate(self, spec: RenderSpec, places: Places, reading: Reading) -> None:
        cards = self._cards()
        env = speech.with_ffmpeg(self._env, places.save_file.parent / "bin") if spec.audio else self._env
        # torchrun stops its ranks on SIGTERM. If it were killed, they would stay.
        shared = processes_for(spec.task, len(cards)) > 1
        reading.enter("starting")
        argv = argv_for(spec, places, cards)
        await self._run(_GENERATE, argv, env, reading, signal.SIGTERM if shared else signal.SIGKILL)

    async def _run(
        self,
        program: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        reading: Reading,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        def hear(stream: str, line: str) -> None:
            silence.heard()
            reading.line(stream, line)

        silence = Silence(self._stall_s)
        try:
            async with silence:
                ended = await process.run(
                    argv,
                    cwd=self._home,
                    env=env,
                    on_line=hear,
                    stop_grace_s=self._stop_grace_s,
                    death_signal=death_signal,
                )
        except TimeoutError as error:
            if not silence.expired():
                raise
            message = f"{program} hung: it wrote nothing for {self._stall_s:g} s while {reading.stage}, and was ended."
            raise EngineFailed(message, hint=_STALL_HINT) from error
        if ended.code != 0:
            log.error("%s ended with %d; its last lines:", program, ended.code)
            for line in ended.tail:
                log.error("| %s", line)
            raise failure(ended, Context(program, self._python, reading.stage, reading.told()))

    def _ignored(self, spec: RenderSpec) -> tuple[str, ...]:
        """
        Return a line for each field that this run could not use. Features that no run can use are the chooser's matter.
        """
        lines = []
        if spec.offload_model and processes_for(spec.task, len(self._cards())) > 1:
            lines.append("offload_model was ignored: the model is shared between several GPUs.")
        if spec.task == "animate-14B" and spec.prompt:
            lines.append("prompt was ignored: upstream renders animate-14B with a prompt of its own.")
        if spec.task == "animate-14B" and spec.frames is not None:
            lines.append("frame_num was ignored: the driving video decides the length of animate-14B.")
        return tuple(lines)


def _unknown(spec: RenderSpec) -> dict[str, str]:
    """Return what only upstream's program decides, with a sentence for each."""
    unknown = {}
    if spec.image is not None or spec.task == "animate-14B":
        unknown["size"] = f"size: upstream takes the area of {spec.size} and the shape of the picture."
    if spec.audio is not None:
        unknown["frames"] = "frames: upstream renders whole clips and cuts them to the length of the sound."
    if spec.task == "animate-14B":
        unknown["frames"] = "frames and fps: the driving video decides them."
    return unknown


def _experts(spec: RenderSpec) -> int:
    return 2 if task_named(spec.task).boundary is not None else 1


async def _clips(spec: RenderSpec) -> int | None:
    """Return how many progress bars will come, or None if only the program knows."""
    if spec.task == "animate-14B":
        return None
    if spec.audio is None:
        return 1
    sound_s = await speech.duration_s(spec.audio)
    return None if sound_s is None else speech.clips_of(sound_s, spec.frames)
