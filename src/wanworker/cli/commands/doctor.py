"""`wanworker doctor`: show what this machine can render, what is missing, and the command that gets it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wanworker.cli._base import EXIT_FAILED, Command, read_settings
from wanworker.cli.terminal.console import say_json, show
from wanworker.models.files.damage import damaged_in
from wanworker.models.hub.catalogue import preset_for
from wanworker.models.hub.fetch import SPARE_BYTES, free_on_disk, in_words
from wanworker.models.machine.doctor import STAND_IN, Check, Report, Row, as_json
from wanworker.models.machine.gpu_kernel import KernelRun
from wanworker.models.machine.hardware import Gpu, available_memory_mib, gpus

if TYPE_CHECKING:
    from wanworker.engines.base import Readiness
    from wanworker.engines.registry import EngineRegistry
    from wanworker.settings import Settings


def _ffmpeg() -> str:
    from wanworker.media.video import ffmpeg
    from wanworker.serverless.fitness import check_ffmpeg

    check_ffmpeg(ffmpeg.program)
    return ffmpeg.program()


def _kernel(python: str) -> KernelRun:
    from wanworker.engines.machine.interpreters import kernel_in

    return kernel_in(python)


def _is_on_path() -> bool:
    return shutil.which("wanworker") is not None


@dataclass(frozen=True, slots=True)
class Machine:
    """Define what doctor asks of the machine. A test gives its own answers."""

    gpus: Callable[[], Sequence[Gpu]] = gpus
    memory_mib: Callable[[], int | None] = available_memory_mib
    free_bytes: Callable[[Path], int] = free_on_disk
    kernel: Callable[[str], KernelRun] = _kernel
    ffmpeg: Callable[[], str] = _ffmpeg
    is_on_path: Callable[[], bool] = _is_on_path


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorOptions:
    """Hold the arguments of `doctor`."""

    all: Annotated[bool, typer.Option("--all", help="Show each engine of each task, and what it lacks.")] = False
    json: Annotated[
        bool, typer.Option("--json", help="Print the findings as JSON on stdout, and nothing else there.")
    ] = False


def run(args: DoctorOptions, machine: Machine | None = None) -> int:
    """Examine and print. Return 0 if a real engine can render, else 1. Raises CommandFailed for a bad setting."""
    from wanworker.app import Worker

    settings = read_settings()
    registry = Worker.from_settings(settings).registry
    machine = machine or Machine()
    try:
        report = examine(settings, registry, machine)
    finally:
        asyncio.run(registry.close())
    if args.json:
        say_json(as_json(report))
    else:
        from wanworker.cli.commands._doctor_table import doctor_table

        show(doctor_table(report, every_engine=args.all))
        if any(row.preset for row in report.rows) and not machine.is_on_path():
            print("In a clone, the command is scripts/wanworker.")
    return 0 if report.can_render else EXIT_FAILED


def examine(settings: Settings, registry: EngineRegistry, machine: Machine) -> Report:
    """Ask the machine and every engine; running a GPU kernel takes seconds. A missing output folder is made."""
    from wanworker.engines.machine.interpreters import interpreters, without_kernel
    from wanworker.engines.machine.weight_folders import weight_folders

    kernels = {python: machine.kernel(python) for python in interpreters(settings)} if machine.gpus() else {}
    broken = without_kernel(settings, kernels)
    return Report(
        rows=tuple(_rows(settings, registry, broken)),
        checks=(*_gpu_checks(settings, machine, kernels), *_other_checks(settings, machine)),
        damaged=damaged_in(weight_folders(settings)),
        searched=tuple(str(place) for place in settings.model_dirs),
        free_bytes=machine.free_bytes(settings.ckpt_dir),
    )


def _rows(settings: Settings, registry: EngineRegistry, broken: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    from wanworker.spec import TASKS

    for task in TASKS:
        able = [row.name for row in registry.rows if task in row.capabilities.tasks and row.name != STAND_IN]
        for row in registry.rows:
            if task not in row.capabilities.tasks or (row.name == "mini" and not settings.mini):
                continue
            state = registry.readiness(row.name, task)
            unfetched = _unfetched(settings, registry, row.name, task, state)
            missing = tuple(dict.fromkeys((*state.missing, *unfetched)))
            lacking = (*state.lacking, *broken.get(row.name, ()))
            preset = preset_for(row.name, task) if unfetched else None
            yield Row(row.name, task, missing, lacking, preset, state.plan, is_only=able == [row.name])


def _unfetched(
    settings: Settings, registry: EngineRegistry, engine: str, task: str, state: Readiness
) -> tuple[str, ...]:
    """Return a line for each weight file that a fetch would bring, even if the engine has other problems."""
    if engine == "wan_cli":
        from wanworker.engines.wan_cli.checkpoint import locate
        from wanworker.spec import TASKS

        return locate(TASKS[task], settings.model_dirs).missing
    if engine == "comfyui" and (settings.comfyui_root or not state.is_ready) and not settings.comfyui_url:
        from wanworker.engines.comfyui.engine import ComfyUI

        comfyui = registry.engine(engine)
        return comfyui.missing_on_disk(task) if isinstance(comfyui, ComfyUI) else ()
    return state.missing


def _gpu_checks(settings: Settings, machine: Machine, kernels: dict[str, KernelRun]) -> Iterator[Check]:
    from wanworker.engines.machine.interpreters import interpreters

    cards = machine.gpus()
    if not cards:
        yield Check("GPU", "none: nvidia-smi finds no NVIDIA GPU", is_bad=True)
    for card in cards:
        memory = f"{card.memory_mib} MiB, compute capability {card.compute_capability}"
        yield Check("GPU", f"{card.name}, {memory}, driver {card.driver}")
    for python, engines in interpreters(settings).items():
        if (kernel := kernels.get(python)) is not None:
            text = f"{kernel.text} ({python}, for {' and '.join(engines)})"
            yield Check("kernel", text, is_bad=not kernel.ran)


def _other_checks(settings: Settings, machine: Machine) -> Iterator[Check]:
    from wanworker.serverless.fitness import Unfit, check_writable

    memory = machine.memory_mib()
    yield Check("memory", "unknown" if memory is None else f"{in_words(memory * 1024**2)} available")
    yield Check("weights", f"{in_words(machine.free_bytes(settings.ckpt_dir))} free in {settings.ckpt_dir}")
    free = machine.free_bytes(settings.out_dir)
    is_full = free < SPARE_BYTES
    room = f"{in_words(free)} free in {settings.out_dir}"
    yield Check("videos", f"too little space: {room}" if is_full else room, is_bad=is_full, stops_all=is_full)
    try:
        check_writable(settings.out_dir)
    except Unfit as error:
        yield Check("videos", str(error), is_bad=True, stops_all=True)
    try:
        yield Check("ffmpeg", machine.ffmpeg())
    except Unfit as error:
        yield Check("ffmpeg", str(error), is_bad=True, stops_all=True)


COMMAND = Command(
    "doctor",
    "Show what this machine can render, what is missing, and the command that gets it.",
    DoctorOptions,
    run,
)
