"""
The fault matrix as data: what goes wrong, when, and the true end of the job that it meets.

A row is walked at each door by harness.py. `end` is (status, code) as the job's record says it once the dust has
settled; what `ends_door` is followed by a new start of the same door, and on RunPod by a second delivery of the job.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from faults.doors import End
from faults.injections import Injection, Place

COMPLETED: End = ("COMPLETED", None)
CANCELLED: End = ("CANCELLED", "CANCELLED")
FAILED: End = ("ERROR", "ENGINE_FAILED")
INTERRUPTED: End = ("ERROR", "INTERRUPTED")
NO_OUTPUT: End = ("NO_OUTPUT", "NO_OUTPUT")
DISK_FULL: End = ("ERROR", "DISK_FULL")
TIMEOUT: End = ("TIMEOUT", "ENGINE_TIMEOUT")
UNAVAILABLE: End = ("ERROR", "ENGINE_UNAVAILABLE")

Engine = Literal["wan_cli", "mini", "comfyui", "remote comfyui"]
Deed = Literal[
    "nothing", "cancel", "signal the door", "signal the child", "fill the volume", "make the volume read-only",
    "move the volume away", "unmount the volume", "ask from a second worker", "render until the child is replaced",
    "let ComfyUI die", "let ComfyUI die twice", "freeze ComfyUI", "send another job",
    "deliver again", "kill the door at the result"
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One row.

    The job is held in its second step (`waits`, or the gate of the resident child) where *held*; then *deed* is done,
    with *signals* in their order, and the gate opened. *inject* is done to the door's process from its start, *plane*
    are knobs of RunPod's control plane, *comfyui* those of the ComfyUI server, *settings* variables of the door. `end`
    may differ by door. With *is_before* the deed is done before the job comes, which is refused then.
    """

    what: str
    moment: str
    end: End | Mapping[str, End]
    engine: Engine = "wan_cli"
    program: str = "waits"
    held: bool = True
    deed: Deed = "nothing"
    signals: tuple[signal.Signals, ...] = ()
    opens: bool = True
    inject: Injection | None = None
    plane: Mapping[str, Any] = field(default_factory=dict)
    comfyui: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    ends_door: bool = False
    doors: tuple[str, ...] = ("RunPod", "REST")
    needs_mount: bool = False
    is_before: bool = False
    is_quick: bool = False

    @property
    def name(self) -> str:
        """What the page and the test call it."""
        return f"{self.what}, {self.moment}"

    def end_at(self, door: str) -> End:
        """Return the true end of the job that came by *door*."""
        return self.end[door] if isinstance(self.end, Mapping) else self.end


def _cli(what: str, moment: str, end: End, program: str, **more: Any) -> Fault:
    return Fault(what, moment, end, program=program, held=False, **more)


def _killed_at(moment: str, *places: Place, end: End | None = None) -> Fault:
    """On RunPod the job is delivered again and rendered; a server of one's own takes up what had not begun."""
    by_rest = end or INTERRUPTED
    return Fault(
        "SIGKILL of the worker", moment, {"RunPod": COMPLETED, "REST": by_rest}, held=False, opens=True,
        program="ok", inject=Injection(kill_at=places), ends_door=True,
    )  # fmt: skip


def _comfyui(what: str, end: End, *, engine: Engine = "comfyui", **more: Any) -> Fault:
    """Only RunPod's door takes graphs in the words of its document."""
    return Fault(what, "in a step", end, engine=engine, doors=("RunPod",), opens=False, **more)


_STUCK = {"stuck": ["SaveImage"]}
_HELD = {"holds": ["SaveImage"]}
_CLAIM = Place("open", "/running/")
_RECORD_WRITE = Place("open", ".json.")
_RECORD_LINK = Place("os.link", ".json")
_RECORD_RENAME = Place("os.rename", ".json")
_OUTPUT_LINK = Place("os.link", ".mp4")
_PART_REMOVED = Place("os.remove", ".part.mp4")

FAULTS: tuple[Fault, ...] = (
    _cli("generate.py dies of an error", "in a step", FAILED, "fails", is_quick=True),
    _cli("generate.py is killed", "in a step", ("ERROR", "OUT_OF_MEMORY"), "killed"),
    _cli("generate.py runs out of GPU memory", "in a step", ("ERROR", "OUT_OF_MEMORY"), "out_of_memory"),
    _cli("generate.py lies: exit code 0, no file", "at its end", NO_OUTPUT, "no_output"),
    _cli("generate.py lies: exit code 0, half a file", "at its end", NO_OUTPUT, "half_file"),
    _cli("generate.py fills the disk", "while it saves", DISK_FULL, "fills_disk"),
    _cli("generate.py leaves a symlink as its video", "at its end", NO_OUTPUT, "links"),
    _cli("generate.py leaves a process in a session of its own", "at its end", COMPLETED, "forks_away"),
    Fault("generate.py hangs, ignores SIGTERM, has forked away; cancelled", "in a step", CANCELLED,
          program="hangs", deed="cancel", opens=False),
    Fault("generate.py hangs until the deadline", "in a step", TIMEOUT, program="hangs", opens=False,
          settings={"JOB_TIMEOUT_S": "3"}),
    Fault("Resident child: SIGKILL", "in a step", ("ERROR", "OUT_OF_MEMORY"), engine="mini", deed="signal the child",
          signals=(signal.SIGKILL,)),
    Fault("Resident child: SIGSTOP, then cancelled", "in a step", CANCELLED, engine="mini", deed="signal the child",
          signals=(signal.SIGSTOP,), opens=False),
    Fault("Resident child: writes a megabyte of garbage to both outputs", "at its start", COMPLETED, engine="mini",
          held=False, inject=Injection(garbage_bytes=1024**2)),
    Fault("Resident child: keeps 1.1 GiB more with each job, 2 GiB are left", "after a job", COMPLETED, engine="mini",
          held=False, inject=Injection(leak_mib=1126, available_mib=2048), deed="render until the child is replaced"),
    _comfyui("Own ComfyUI server: a node never returns", TIMEOUT, comfyui=_STUCK),
    _comfyui("Own ComfyUI server: its worker thread dies", TIMEOUT, comfyui={"exits": ["SaveImage"]}),
    _comfyui("Own ComfyUI server: hangs as a whole", TIMEOUT, comfyui=_HELD, deed="freeze ComfyUI"),
    _comfyui("Own ComfyUI server: dies", COMPLETED, comfyui=_HELD, deed="let ComfyUI die"),
    _comfyui("Own ComfyUI server: dies, and its second start as well", UNAVAILABLE, comfyui=_HELD,
             deed="let ComfyUI die twice"),
    _comfyui("Remote ComfyUI server: a node never returns; the next job is told so", TIMEOUT, engine="remote comfyui",
             comfyui=_STUCK, deed="send another job"),
    Fault("Result refused with 500 twice", "at the result", COMPLETED, held=False, program="ok",
          plane={"result_faults": [500, 500]}, doors=("RunPod",)),
    Fault("Result refused with 429", "at the result", COMPLETED, held=False, program="ok",
          plane={"result_faults": [429]}, doors=("RunPod",)),
    Fault("Result's connection cut", "at the result", COMPLETED, held=False, program="ok",
          plane={"result_faults": ["reset"]}, doors=("RunPod",)),
    Fault("Job delivered again", "after its end", COMPLETED, held=False, program="ok", deed="deliver again",
          doors=("RunPod",)),
    Fault("SIGKILL of the worker", "while its result is refused", COMPLETED, held=False, program="ok",
          deed="kill the door at the result", plane={"result_faults": [500] * 40}, ends_door=True, doors=("RunPod",)),
    Fault("Progress refused and cut", "in a step", COMPLETED, held=False, program="ok",
          plane={"progress_faults": [500, "reset", 404, 500]}, doors=("RunPod",)),
    Fault("Progress takes 0.5 s a post", "in a step", COMPLETED, held=False, program="ok",
          plane={"progress_delay_s": 0.5}, doors=("RunPod",)),
    Fault("job-take fails with 500, 429 and 404", "before the job", COMPLETED, held=False, program="ok",
          plane={"take_faults": [500, 429, 404]}, doors=("RunPod",)),
    Fault("SIGTERM", "in a step", COMPLETED, deed="signal the door", signals=(signal.SIGTERM,), ends_door=True),
    Fault("SIGTERM, twice", "in a step", COMPLETED, deed="signal the door",
          signals=(signal.SIGTERM, signal.SIGTERM), ends_door=True),
    Fault("SIGTERM", "after the job", COMPLETED, held=False, program="ok", ends_door=True, deed="signal the door",
          signals=(signal.SIGTERM,)),
    Fault("SIGKILL of the worker", "in a step", {"RunPod": COMPLETED, "REST": INTERRUPTED}, deed="signal the door",
          signals=(signal.SIGKILL,), ends_door=True, is_quick=True),
    _killed_at("before the claim", _CLAIM, end=COMPLETED),
    _killed_at("between claim and record", _CLAIM, _RECORD_WRITE, end=COMPLETED),
    _killed_at("at the link of the record", _CLAIM, _RECORD_LINK, end=COMPLETED),
    _killed_at("at the rename of the next record", _CLAIM, _RECORD_LINK, _RECORD_RENAME, end=COMPLETED),
    _killed_at("before the video is moved into place", _OUTPUT_LINK),
    _killed_at("while the video has two names", _OUTPUT_LINK, _PART_REMOVED),
    _killed_at("between the video's move and the record's", _OUTPUT_LINK, _RECORD_WRITE),
    _killed_at("at the rename of the last record", _OUTPUT_LINK, _RECORD_RENAME),
    Fault("Volume full", "in a step", DISK_FULL, deed="fill the volume", needs_mount=True),
    Fault("Volume read-only", "in a step", DISK_FULL, deed="make the volume read-only", needs_mount=True),
    Fault("Volume moved away", "in a step", DISK_FULL, deed="move the volume away"),
    Fault("Volume moved away", "before the job", DISK_FULL, deed="move the volume away", program="ok", held=False,
          is_before=True),
    Fault("Volume unmounted", "in a step", DISK_FULL, deed="unmount the volume", needs_mount=True),
    Fault("Volume unmounted", "before the job", DISK_FULL, deed="unmount the volume", needs_mount=True, program="ok",
          held=False, is_before=True),
    Fault("Volume slow, 0.3 s a write", "all along", COMPLETED, held=False, program="ok",
          inject=Injection(fsync_s=0.3)),
    Fault("Worker's clock 40 s ahead", "all along", COMPLETED, inject=Injection(clock_ahead_s=40),
          deed="ask from a second worker"),
    Fault("Worker's clock 40 s behind", "all along", COMPLETED, inject=Injection(clock_ahead_s=-40),
          deed="ask from a second worker"),
)  # fmt: skip
