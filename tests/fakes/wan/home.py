"""A WAN_HOME and a models folder for tests: a fake generate.py and every file that a checkpoint has, tiny."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from pathlib import Path

from fakes.wan.upstream import TASKS

FAKES = Path(__file__).parent

FOLDERS = {
    "t2v-A14B": "Wan2.2-T2V-A14B",
    "i2v-A14B": "Wan2.2-I2V-A14B",
    "ti2v-5B": "Wan2.2-TI2V-5B",
    "s2v-14B": "Wan2.2-S2V-14B",
    "animate-14B": "Wan2.2-Animate-14B",
}
_FILES = {
    "ti2v-5B": ("Wan2.2_VAE.pth",),
    "animate-14B": (
        "Wan2.1_VAE.pth",
        "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth",
        "xlm-roberta-large/tokenizer.json",
        "relighting_lora.ckpt",
        "process_checkpoint/det/yolov10m.onnx",
        "process_checkpoint/pose2d/vitpose_h_wholebody.onnx",
    ),
    "s2v-14B": ("Wan2.1_VAE.pth", "wav2vec2-large-xlsr-53-english/config.json"),
}
_EXPERTS = ("high_noise_model", "low_noise_model")
_CHANNELS = {"t2v-A14B": 16, "i2v-A14B": 36, "ti2v-5B": 48, "s2v-14B": 16, "animate-14B": 36}


def make_home(tmp_path: Path, behaviour: str = "ok", tasks: Iterable[str] = tuple(TASKS)) -> tuple[Path, Path]:
    """
    Return (WAN_HOME, WAN_CKPT_DIR) below *tmp_path*: generate.py behaves as the fake named *behaviour*.

    Run it with the interpreter of the tests as WAN_PYTHON.
    """
    home, models = tmp_path / "Wan2.2", tmp_path / "models"
    _program(home / "generate.py", behaviour)
    _program(home / "wan/modules/animate/preprocess/preprocess_data.py", "preprocess_data")
    for task in tasks:
        make_checkpoint(models / FOLDERS[task], task)
    return home, models


def make_checkpoint(folder: Path, task: str) -> Path:
    """Write every file that upstream opens for *task*, by its name and a few bytes long."""
    names = ("models_t5_umt5-xxl-enc-bf16.pth", "google/umt5-xxl/tokenizer.json")
    for name in (*names, *_FILES.get(task, ("Wan2.1_VAE.pth",))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"weights")
    for part in _EXPERTS if task.endswith("A14B") else (".",):
        _write_weights(folder / part, _CHANNELS[task])
    return folder


def _write_weights(folder: Path, channels: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"diffusion_pytorch_model-{number:05d}-of-00002.safetensors" for number in (1, 2)]
    for name in names:
        write_safetensors(folder / name)
    index = {"metadata": {}, "weight_map": {f"block.{number}": name for number, name in enumerate(names)}}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps({"_class_name": "WanModel", "in_dim": channels}))


def write_safetensors(path: Path) -> None:
    """Write a whole file with one tensor of four bytes."""
    header = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))


def _program(path: Path, behaviour: str) -> None:
    """Write a program that is the fake *behaviour* by another name."""
    fake = FAKES / f"{behaviour}.py"
    assert fake.is_file(), f"no fake {behaviour}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"import runpy, sys\nsys.path.insert(0, {str(FAKES)!r})\nrunpy.run_path({str(fake)!r}, run_name='__main__')\n"
    )
