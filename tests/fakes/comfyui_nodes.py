"""What the fake ComfyUI's nodes do: steps for samplers, files for savers, failures for the recorded test nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

#: Smallest bytes that each kind of file begins with; a test that decodes them gives real ones.
MEDIA = {
    ".mp4": b"\0\0\0\x18ftypmp42" + bytes(200),
    ".webm": b"\x1aE\xdf\xa3" + bytes(200),
    ".webp": b"RIFF\0\0\0\0WEBP" + bytes(200),
    ".png": b"\x89PNG\r\n\x1a\n" + bytes(200),
    ".flac": b"fLaC" + bytes(200),
    ".mp3": b"ID3" + bytes(200),
}

#: Output class -> (key of the ui output, file ending, type, more of the ui output).
SAVERS: Mapping[str, tuple[str, str, str, dict[str, Any]]] = {
    "SaveVideo": ("images", ".mp4", "output", {"animated": [True]}),
    "SaveWEBM": ("images", ".webm", "output", {"animated": [True]}),
    "SaveAnimatedWEBP": ("images", ".webp", "output", {"animated": [True]}),
    "SaveImage": ("images", ".png", "output", {}),
    "PreviewImage": ("images", ".png", "temp", {}),
    "SaveAudio": ("audio", ".flac", "output", {}),
    "SaveAudioMP3": ("audio", ".mp3", "output", {}),
    "PreviewAudio": ("audio", ".flac", "temp", {}),
    "TestGifs": ("gifs", ".mp4", "output", {}),
    "VHS_VideoCombine": ("gifs", ".mp4", "output", {}),
}


class NodeRaised(Exception):
    """A node raised `kind` (an exception's name) with `message`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Interrupt(Exception):
    """The prompt was interrupted."""


class Stage(Protocol):
    """What a running prompt offers its nodes."""

    async def step(self, node: str, value: int, steps: int) -> None:
        """Send progress, let others run, and raise Interrupt if it was asked for."""

    async def pause(self) -> None:
        """Let others run, and raise Interrupt if it was asked for."""


OOM = (
    "Allocation on device 0 would exceed allowed memory\nThis error means you ran out of memory on your GPU.\n\n"
    "TIPS: If the workflow worked before you might have accidentally set the batch_size to a large number."
)


class WorkerDied(Exception):
    """A node raised SystemExit or KeyboardInterrupt: the thread that runs nodes is gone, and the server lives on."""


@dataclass
class Nodes:
    """
    Run nodes by class; files go below `folder`/output and `folder`/temp.

    `media` gives the bytes of each kind of file; `fails` a class's exception and message; a class in `holds` sets
    `held` and waits for `release` or an interrupt; one in `hangs` sets `held` and returns never, whatever is asked;
    one in `exits` sets `held` and ends the worker thread. `pauses` is how many milliseconds a class takes. A saver in
    `loses` names its file, but the file is gone.
    """

    folder: Path
    media: Mapping[str, bytes] = field(default_factory=dict)
    fails: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    holds: frozenset[str] = frozenset()
    hangs: frozenset[str] = frozenset()
    exits: frozenset[str] = frozenset()
    loses: frozenset[str] = frozenset()
    pauses: Mapping[str, int] = field(default_factory=lambda: {"ImageScale": 15})
    held: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, node: str, class_type: str, inputs: Mapping[str, Any], stage: Stage) -> dict[str, Any] | None:
        """Return what the node shows; None for one that shows nothing."""
        if class_type in self.fails:
            raise NodeRaised(*self.fails[class_type])
        if class_type in self.hangs | self.exits:
            self.held.set()
            if class_type in self.exits:
                raise WorkerDied
            await asyncio.Event().wait()
        if class_type in self.holds:
            self.held.set()
            while not self.release.is_set():
                await stage.pause()
        for _ in range(self.pauses.get(class_type, 0)):
            await stage.pause()
        if class_type == "TestRaise":
            is_oom = inputs["kind"] == "OOM"
            raise NodeRaised("torch.OutOfMemoryError", OOM) if is_oom else NodeRaised(inputs["kind"], inputs["message"])
        for value in range(1, self._steps(inputs) + 1):
            await stage.step(node, value, self._steps(inputs))
        return self._shown(class_type, inputs)

    def _steps(self, inputs: Mapping[str, Any]) -> int:
        steps = inputs.get("steps", 0)
        if not isinstance(steps, int):
            return 0
        return max(0, min(steps, int(inputs.get("end_at_step", steps))) - int(inputs.get("start_at_step", 0)))

    def _shown(self, class_type: str, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
        if class_type == "TestText":
            return {"text": ["x"], "weird": [{"filename": "a.txt"}], "number": [1, 2.5, None, float("nan")]}
        if class_type == "TestSleep":
            return {"text": [f"slept {inputs['seconds']}"]}
        if class_type not in SAVERS:
            return None
        key, suffix, kind, more = SAVERS[class_type]
        default = "ComfyUI_temp_lmdgm" if kind == "temp" else "ComfyUI"
        item = self._save(str(inputs.get("filename_prefix", default)), suffix, kind)
        if class_type in self.loses:
            (self.folder / kind / item["subfolder"] / item["filename"]).unlink()
        if key == "gifs":
            item |= {"format": "video/h264-mp4", "frame_rate": 16.0, "workflow": "gif_.png", "fullpath": "/srv/out.mp4"}
        return {key: [item], **more}

    def _save(self, prefix: str, suffix: str, kind: str) -> dict[str, Any]:
        subfolder, _, name = prefix.rpartition("/")
        root = (self.folder / kind).resolve()
        folder = (root / subfolder).resolve()
        if not folder.is_relative_to(root):
            raise NodeRaised("Exception", "**** ERROR: Saving image outside the output folder is not allowed.")
        folder.mkdir(parents=True, exist_ok=True)
        # As the real one counts: the highest number there is, plus one.
        taken = [int(path.name[len(name) + 1 :].split("_")[0]) for path in folder.glob(f"{name}_[0-9]*_.*")]
        filename = f"{name}_{max(taken, default=0) + 1:05}_{suffix}"
        (folder / filename).write_bytes(self.media.get(suffix, MEDIA[suffix]))
        return {"filename": filename, "subfolder": subfolder, "type": kind}
