"""Prepare the folder that animate reads (poses, face, reference picture), or check the given one."""

from __future__ import annotations

from pathlib import Path

from wanworker.errors import EngineFailed, EngineUnavailable, InputUnavailable, InvalidRequest
from wanworker.spec import RenderSpec

#: The files that wan/animate.py opens, and those that it also opens to replace a person in a video.
_FILES = ("src_pose.mp4", "src_face.mp4", "src_ref.png")
_REPLACING = ("src_bg.mp4", "src_mask.mp4")

_SCRIPT = Path("wan/modules/animate/preprocess/preprocess_data.py")
_CHECKPOINT = "process_checkpoint"
_MODELS = ("det/yolov10m.onnx", "pose2d/vitpose_h_wholebody.onnx")
_LORA = "relighting_lora.ckpt"

#: The frame rate of animate's videos (wan_animate_14B.py). The driving video is sampled at it.
_FPS = 30


def check_given(folder: Path) -> None:
    """Raise InputUnavailable unless the caller's prepared *folder* has all files that animate opens."""
    missing = _missing(folder)
    if missing:
        raise InputUnavailable(
            f"prepared_path needs {', '.join(_FILES)}; not in {folder.name}/: {', '.join(missing)}.",
            field="prepared_path",
        )


def check_made(folder: Path) -> None:
    """Raise EngineFailed unless the preprocessing has left all files that animate opens."""
    missing = _missing(folder)
    if missing:
        raise EngineFailed(f"Upstream's preprocessing ended well, but did not write {', '.join(missing)}.")


def replaces(folder: Path) -> bool:
    """Say whether *folder* was prepared to replace a person. It then also has a background and a mask."""
    return all((folder / name).is_file() for name in _REPLACING)


def has_relighting(ckpt_dir: Path) -> bool:
    """Say whether the checkpoint has the LoRA that adapts a replaced person to the light of the scene."""
    return (ckpt_dir / _LORA).is_file()


def preprocessing_argv(spec: RenderSpec, *, python: str, home: Path, ckpt_dir: Path, target: Path) -> list[str]:
    """
    Return the command that makes *target* from the picture and the driving video. It has to run in *home*.

    Raises InvalidRequest without the two, and EngineUnavailable naming the missing parts of upstream's preprocessing.
    """
    if spec.image is None or spec.driving_video is None:
        raise InvalidRequest("animate-14B needs a picture and a driving video, or a prepared_path.")
    models = ckpt_dir / _CHECKPOINT
    missing = [str(path) for path in (home / _SCRIPT, *(models / name for name in _MODELS)) if not path.is_file()]
    if missing:
        raise EngineUnavailable(
            f"animate-14B needs upstream's preprocessing; not there: {', '.join(missing)}.",
            hint="Fetch the whole Wan2.2-Animate-14B repository, or send a folder that is prepared already as "
            "prepared_path.",
        )
    return [
        python, str(_SCRIPT),
        f"--ckpt_path={models}", f"--video_path={spec.driving_video.absolute()}",
        f"--refer_path={spec.image.absolute()}", f"--save_path={target}",
        "--resolution_area", str(spec.size.width), str(spec.size.height), f"--fps={_FPS}",
    ]  # fmt: skip


def _missing(folder: Path) -> list[str]:
    return [name for name in _FILES if not (folder / name).is_file()]
