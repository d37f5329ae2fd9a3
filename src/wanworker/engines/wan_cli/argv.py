"""
Build the command lines of upstream's generate.py, from one table of flags for each task. Pure.

Checked against Wan2.2 at 42bf4cf.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wanworker.errors import InvalidRequest
from wanworker.models.machine.hardware import Gpu
from wanworker.spec import TASKS, RenderSpec, Size

#: generate.py's SUPPORTED_SIZES (wan/configs/__init__.py). s2v takes any size of the parser's own list.
SIZES: Mapping[str, tuple[Size, ...]] = {
    "t2v-A14B": (Size(1280, 720), Size(720, 1280), Size(832, 480), Size(480, 832)),
    "i2v-A14B": (Size(1280, 720), Size(720, 1280), Size(832, 480), Size(480, 832)),
    "ti2v-5B": (Size(1280, 704), Size(704, 1280)),
    "s2v-14B": (
        Size(1280, 720), Size(720, 1280), Size(832, 480), Size(480, 832),
        Size(1024, 704), Size(704, 1024), Size(1280, 704), Size(704, 1280),
    ),
    "animate-14B": (Size(1280, 720), Size(720, 1280)),
}  # fmt: skip

#: The number of attention heads (wan/configs). The number of processes must divide it (generate.py, ulysses_size).
_HEADS = {"t2v-A14B": 40, "i2v-A14B": 40, "ti2v-5B": 24, "s2v-14B": 40, "animate-14B": 40}

#: s2v renders clips of this many frames at 16 fps. The first clip loses three (wan/speech2video.py).
_CLIP_FRAMES, _LOST_FRAMES = 80, 3

#: s2v counts its seed up, clip by clip, but torch takes only seeds below 2**64. No sound has this many clips.
_HIGHEST_S2V_SEED = 2**64 - 1 - 100_000


@dataclass(frozen=True, slots=True)
class Places:
    """
    Say where everything is. `python` is a path or a name on PATH.

    `source_dir` is animate's prepared folder. `replaces` means that it has a background and a mask, `relights` that the
    checkpoint has the LoRA for that.
    """

    python: str
    ckpt_dir: Path
    save_file: Path
    source_dir: Path | None = None
    replaces: bool = False
    relights: bool = False


@dataclass(frozen=True, slots=True)
class _Memory:
    """Hold the flags that *task* needs to fit on a card of at most `up_to_mib`. None is any card."""

    task: str
    up_to_mib: int | None
    offload: bool
    switches: tuple[str, ...]


_HALF, _TEXT_ON_CPU = "--convert_model_dtype", "--t5_cpu"

#: The first row that fits is taken; if the card is unknown, the task's first row. From upstream's README: 5B runs in
#: 24 GB with all three flags, and without them from 80 GB. A14B's own command has two of them. s2v and animate keep the
#: model (about 33 GB) and the text encoder (11 GB) on the card, so below 80 GB the encoder runs on the CPU.
_MEMORY = (
    _Memory("ti2v-5B", 33_000, True, (_HALF, _TEXT_ON_CPU)),
    _Memory("ti2v-5B", 78_000, True, (_HALF,)),
    _Memory("ti2v-5B", None, False, ()),
    _Memory("t2v-A14B", None, True, (_HALF,)),
    _Memory("i2v-A14B", None, True, (_HALF,)),
    _Memory("s2v-14B", 78_000, True, (_HALF, _TEXT_ON_CPU)),
    _Memory("s2v-14B", None, True, (_HALF,)),
    _Memory("animate-14B", 78_000, True, (_HALF, _TEXT_ON_CPU)),
    _Memory("animate-14B", None, True, (_HALF,)),
)

_Value = Path | str | float | bool | None

#: The value of each flag. None and False leave it out, True makes it a switch.
_VALUES: Mapping[str, Callable[[RenderSpec, Places], _Value]] = {
    "--task": lambda spec, _: spec.task,
    "--ckpt_dir": lambda _, places: places.ckpt_dir,
    "--save_file": lambda _, places: places.save_file,
    "--size": lambda spec, _: str(spec.size),
    "--prompt": lambda spec, _: spec.prompt,
    "--base_seed": lambda spec, _: _seed(spec),
    "--frame_num": lambda spec, _: spec.frames,
    "--image": lambda spec, _: spec.image,
    "--sample_solver": lambda spec, _: spec.solver,
    "--sample_steps": lambda spec, _: spec.steps,
    "--sample_shift": lambda spec, _: _shift(spec),
    "--sample_guide_scale": lambda spec, _: spec.guidance,
    "--audio": lambda spec, _: spec.audio,
    "--pose_video": lambda spec, _: spec.driving_video,
    "--num_clip": lambda spec, _: clips_for(spec.frames)[0],
    "--infer_frames": lambda spec, _: clips_for(spec.frames)[1],
    "--src_root_path": lambda _, places: places.source_dir,
    # The default of 77 fails upstream's own assertion (wan/animate.py), after loading.
    "--refert_num": lambda *_: 1,
    "--replace_flag": lambda _, places: places.replaces,
    "--use_relighting_lora": lambda _, places: places.replaces and places.relights,
}

_EVERY_TASK = (
    "--task", "--ckpt_dir", "--save_file", "--size", "--base_seed",
    "--sample_solver", "--sample_steps", "--sample_shift", "--sample_guide_scale",
)  # fmt: skip

#: The flags of each task. animate has no prompt, because upstream renders it with its own.
_FLAGS: Mapping[str, tuple[str, ...]] = {
    "t2v-A14B": (*_EVERY_TASK, "--frame_num", "--prompt"),
    "i2v-A14B": (*_EVERY_TASK, "--frame_num", "--prompt", "--image"),
    "ti2v-5B": (*_EVERY_TASK, "--frame_num", "--prompt", "--image"),
    "s2v-14B": (*_EVERY_TASK, "--prompt", "--image", "--audio", "--pose_video", "--num_clip", "--infer_frames"),
    "animate-14B": (*_EVERY_TASK, "--src_root_path", "--refert_num", "--replace_flag", "--use_relighting_lora"),
}

#: Required flags: without them, upstream renders its own sample picture and sound (generate.py, _validate_args).
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "i2v-A14B": ("--image",),
    "s2v-14B": ("--image", "--audio"),
    "animate-14B": ("--src_root_path",),
}


def argv_for(spec: RenderSpec, places: Places, gpus: Sequence[Gpu]) -> list[str]:
    """
    Return the command for *spec* on these visible cards. It has to run in upstream's folder.

    Values are joined to their flags by `=`, because otherwise a prompt that begins with a dash would be read as a flag.
    Raises InvalidRequest for a spec without what its task needs.
    """
    processes = processes_for(spec.task, len(gpus))
    flags = [f"{name}={value}" if value is not True else name for name, value in _given(spec, places)]
    if processes > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        # Offloading would break a model that is shared between cards. Upstream's own default is False here as well.
        sharing = ["--dit_fsdp", "--t5_fsdp", f"--ulysses_size={processes}", "--offload_model=False"]
        return [places.python, *launcher, "generate.py", *flags, *sharing]
    return [places.python, "generate.py", *flags, *_memory_flags(spec, gpus)]


def processes_for(task: str, gpu_count: int) -> int:
    """Return how many cards *task* uses: the largest number that divides its attention heads."""
    return next(count for count in range(max(1, gpu_count), 0, -1) if _HEADS[task] % count == 0)


def clips_for(frames: int | None) -> tuple[int | None, int]:
    """
    Return s2v's (number of clips, frames of each) so that the clips hold *frames* and hardly more.

    None leaves the number to the sound. A clip's frames are a multiple of four: 33 frames are one clip of 36, minus the
    three that the first clip loses.
    """
    if frames is None:
        return None, _CLIP_FRAMES
    wanted = frames + _LOST_FRAMES
    clips = math.ceil(wanted / _CLIP_FRAMES)
    return clips, math.ceil(wanted / clips / 4) * 4


def _given(spec: RenderSpec, places: Places) -> list[tuple[str, _Value]]:
    """Return the flags with their values. Paths are absolute, because generate.py runs in its own folder."""
    pairs = [(name, _VALUES[name](spec, places)) for name in _FLAGS[spec.task]]
    if lacking := [name for name, value in pairs if value is None and name in _NEEDED.get(spec.task, ())]:
        raise InvalidRequest(f"{spec.task} needs {' and '.join(name.removeprefix('--') for name in lacking)}.")
    return [
        (name, value.absolute() if isinstance(value, Path) else value)
        for name, value in pairs
        if value is not None and value is not False
    ]


def _memory_flags(spec: RenderSpec, gpus: Sequence[Gpu]) -> list[str]:
    card_mib = gpus[0].memory_mib if gpus else 0
    rows = (row for row in _MEMORY if row.task == spec.task)
    row = next(row for row in rows if row.up_to_mib is None or card_mib <= row.up_to_mib)
    offload = row.offload if spec.offload_model is None else spec.offload_model
    return [f"--offload_model={offload}", *row.switches]


def _shift(spec: RenderSpec) -> float | None:
    """Return the shift that is not upstream's own default: its README names another one for 480p than its config."""
    own = TASKS[spec.task].shift_at(spec.size)
    return spec.shift if spec.shift is not None or own == TASKS[spec.task].shift else own


def _seed(spec: RenderSpec) -> int:
    return min(spec.seed, _HIGHEST_S2V_SEED) if spec.task == "s2v-14B" else spec.seed
