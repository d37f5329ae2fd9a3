"""
Walk one row of the fault matrix at one door, with real processes, and hold every promise against what is left.

Afterwards: the record tells the true end and the door says the same; the next job works; once the door has ended
there is no process, no temporary file, no half output, no mark and no queued job.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from fakes.gate import Gate
from fakes.graphs import saving
from fakes.stopped import stop
from fakes.wan.home import make_home
from faults.comfyui import ComfyUIServer
from faults.doors import DOORS, PATIENCE_S, Door, End, RenderRequest, RunPodDoor, processes_of, until
from faults.injections import Injection
from faults.matrix import Fault
from wanworker.errors import UnknownJob
from wanworker.jobs.store.job_store import JobStore

_VOLUME_BYTES = 2 * 1024**3
_SETTLE_S = 15.0

#: What may stay in the temporary folder: torch's cache of compiled kernels.
_KEPT_PREFIX = "torchinductor_"

#: What may stay there too where the worker starts a ComfyUI server: that server's folder.
_COMFYUI_FOLDER = "wanworker"

#: The deadline of a graph that hangs.
_HANGS_S = 8.0

_SOURCE = Path(__file__).resolve().parents[2] / "src"


def can_mount() -> bool:
    """Say whether this process may mount a file system, as root may outside most containers."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    probing = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True)
    return probing.returncode == 0


class Volume:
    """The folder that door and test share; a small file system of its own where a row needs one to fail."""

    def __init__(self, folder: Path, *, is_mounted: bool) -> None:
        self.folder = folder
        self._away = folder.with_name("away")
        self._is_mounted = is_mounted
        folder.mkdir()
        if is_mounted:
            self._mount("-t", "tmpfs", "-o", f"size={_VOLUME_BYTES}", "tmpfs")

    def fill(self) -> None:
        """Leave no byte. The file system shrinks first, so that a small file fills it."""
        used = shutil.disk_usage(self.folder).used
        self._mount("-o", f"remount,size={used + 2 * 1024**2}")
        with (self.folder / "filler").open("wb") as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(65536))
                filler.flush()

    def set_read_only(self) -> None:
        """Let no byte be written any more."""
        self._mount("-o", "remount,ro")

    def move_away(self) -> None:
        """Let there be no folder of that name."""
        self.folder.rename(self._away)

    def unmount(self) -> None:
        """Leave the empty folder on which it was mounted, though processes have files of it open."""
        self._away.mkdir()
        subprocess.run(["mount", "--bind", str(self.folder), str(self._away)], check=True)
        subprocess.run(["umount", "-l", str(self.folder)], check=True)

    def mend(self) -> None:
        """Make it a healthy one again. Nobody may have made anything in the place of one that is gone."""
        if self._away.exists() and self._is_mounted:
            assert list(self.folder.iterdir()) == [], "something was made where the volume was mounted"
            subprocess.run(["mount", "--bind", str(self._away), str(self.folder)], check=True)
            subprocess.run(["umount", "-l", str(self._away)], check=True)
            self._away.rmdir()
        elif self._away.exists():
            assert not self.folder.exists(), "something was made in the place of the volume"
            self._away.rename(self.folder)
        elif self._is_mounted:
            self._mount("-o", f"remount,rw,size={_VOLUME_BYTES}")
            (self.folder / "filler").unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of it."""
        if self._is_mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)

    def _mount(self, *options: str) -> None:
        subprocess.run(["mount", *options, str(self.folder)], check=True)


class Scene:
    """What one walk works with: a door over a volume, the engine's gate, a fault."""

    def __init__(self, fault: Fault, door: str, folder: Path) -> None:
        self.fault = fault
        self.jobs = 0
        self.folder = folder
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.volume = Volume(folder / "volume", is_mounted=fault.needs_mount)
        self.store = JobStore(self.volume.folder / "outputs" / "jobs")
        self.home, models = make_home(folder, fault.program, tasks=("ti2v-5B",))
        self.gate = Gate(folder / "gate")
        self.comfyui = _comfyui(fault, folder)
        self._injections = folder / "injections"
        python_path = [fault.inject.install(self._injections)] if fault.inject else []
        if fault.engine == "mini":
            python_path.append(str(self.gate.folder))
        environment = {
            **(self.comfyui.environment if self.comfyui else {"WAN_ENGINE": fault.engine}),
            "WAN_HOME": str(self.home),
            "WAN_CKPT_DIR": str(models),
            "WAN_PYTHON": sys.executable,
            "WAN_OUT_DIR": str(self.volume.folder / "outputs"),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": os.pathsep.join([*python_path, str(_SOURCE)]),
            **fault.settings,
        }
        self.door: Door = DOORS[door](folder, environment)

    def request(self, seed: int) -> RenderRequest:
        """Return a job that is small for the engine at hand."""
        if self.comfyui is not None:
            # A job behind one that hangs is told so after a minute: its own time must not be over before.
            timeout_s = _HANGS_S if seed == 1 else 2 * PATIENCE_S
            return RenderRequest(workflow=saving("SaveImage", color=seed), timeout_s=timeout_s)
        if self.fault.engine == "mini":
            return RenderRequest(seed, width=64, height=64, frames=5, steps=2)
        return RenderRequest(seed)

    def wait_for_the_gate(self) -> None:
        """Return once the engine is in the step in which it waits."""
        names = [self.gate.folder / "reached", self.home / "waiting", self.home / "pids"]
        comfyui = self.comfyui
        until(
            lambda: any(name.exists() for name in names) or (comfyui is not None and comfyui.is_held),
            "a step of the engine",
        )

    def open_the_gate(self) -> None:
        """Let this job and the next ones go on."""
        (self.home / "go").touch()
        self.gate.open()

    def heal(self) -> None:
        """Take the fault away, so that the next job meets a healthy world: volume, program and door's process."""
        self.volume.mend()
        self.open_the_gate()
        if self.comfyui is not None:
            self.comfyui.heal()
        if isinstance(self.door, RunPodDoor):
            self.door.plane.knobs.result_faults.clear()
        if self.fault.program not in {"waits", "ok"}:
            for pids in self.home.glob("pids*"):
                pids.unlink()
            make_home(self.folder, "ok", tasks=())
        Injection.remove(self._injections)

    def recorded(self, request_id: str) -> End | None:
        """Return what the record on the volume says to another process; None while the job is not over."""
        try:
            job = self.store.find(request_id)
        except UnknownJob:
            return None
        if not job.status.is_terminal:
            return None
        return job.status.value, (job.error.code if job.error else None)


def _comfyui(fault: Fault, folder: Path) -> ComfyUIServer | None:
    if not fault.engine.endswith("comfyui"):
        return None
    return ComfyUIServer(folder, fault.comfyui, is_remote=fault.engine.startswith("remote"))


def walk(fault: Fault, door: str, folder: Path) -> None:
    """Do what *fault* says at *door* and check all that is promised. Raises AssertionError with what was found."""
    scene = Scene(fault, door, folder)
    try:
        _walk(scene)
    finally:
        scene.heal()
        scene.door.close()
        if scene.comfyui is not None:
            scene.comfyui.close()
        scene.volume.close()


def _walk(scene: Scene) -> None:
    fault, door = scene.fault, scene.door
    if isinstance(door, RunPodDoor):
        for name, value in fault.plane.items():
            knob = getattr(door.plane.knobs, name)
            knob.extend(value) if isinstance(value, list) else setattr(door.plane.knobs, name, value)
    door.start()
    if fault.is_before:
        _refuse(scene)
    else:
        _meet(scene)
    _check_next_job(scene)
    door.end()
    if scene.comfyui is not None:
        scene.comfyui.close()
    if fault.needs_mount or fault.deed == "move the volume away" or (fault.inject and fault.inject.kill_at):
        _let_an_hour_pass(scene)
    _check_leftovers(scene)


def _refuse(scene: Scene) -> None:
    """Let the fault come between two jobs: the job that meets it is refused, and leaves nothing."""
    _check_next_job(scene)
    _DEEDS[scene.fault.deed](scene, "")
    code, (_, expected) = scene.door.refused(scene.request(1)), scene.fault.end_at(scene.door.name)
    assert code == expected, f"the door says {code}, the truth is {expected}"
    scene.heal()


def _meet(scene: Scene) -> None:
    """Let the fault meet a job, and check the end of that job."""
    fault, door = scene.fault, scene.door
    request_id = door.submit(scene.request(1))
    if fault.held:
        scene.wait_for_the_gate()
    elif request_id is not None and not _ends_by_itself(fault):
        until(lambda: door.told(request_id), "the job to end")
    if request_id is not None:
        _DEEDS[fault.deed](scene, request_id)
    if fault.opens and fault.held:
        scene.open_the_gate()
    request_id = _after(scene, request_id)
    _check_end(scene, request_id)


def _ends_by_itself(fault: Fault) -> bool:
    """Say whether the door's process goes away before it has told the job's end."""
    return bool(fault.inject and fault.inject.kill_at) or fault.deed == "kill the door at the result"


def _after(scene: Scene, request_id: str | None) -> str:
    """
    Wait for the fault to have done its work, take it away, and bring the door back where it is gone.

    Return the job's id: a client that was given none sends its job again.
    """
    fault, door = scene.fault, scene.door
    if not fault.ends_door:
        assert request_id is not None
        until(lambda: door.told(request_id), "the job to end")
        scene.heal()
        return request_id
    until(lambda: not door.is_running, "the door's process to end")
    told = isinstance(door, RunPodDoor) and request_id is not None and door.told(request_id)
    scene.heal()
    door.start()
    if request_id is None:
        request_id = door.submit(scene.request(1))
        assert request_id is not None
    elif not told:
        door.repeat(request_id)
    until(lambda: door.told(request_id), "the job to end after a new start")
    return request_id


def _check_end(scene: Scene, request_id: str) -> None:
    expected = scene.fault.end_at(scene.door.name)
    if expected[0] == "CANCELLED":
        # Either door forgets a cancelled job's answer: RunPod keeps none, and REST deletes the job.
        assert scene.door.told(request_id) == ("CANCELLED", None)
        if scene.door.name == "REST":
            return
    recorded = until(lambda: scene.recorded(request_id), "the record to tell an end", _SETTLE_S)
    assert recorded == expected, f"the record says {recorded}, the truth is {expected}"
    told = scene.door.told(request_id)
    assert told is not None
    assert expected[0] == "CANCELLED" or told[1] == expected[1], f"the door says {told}, the truth is {expected}"


def _check_next_job(scene: Scene) -> None:
    scene.jobs += 1
    request_id = scene.door.submit(scene.request(1 + scene.jobs))
    assert request_id is not None, "the next job was not taken"
    told = until(lambda: scene.door.told(request_id), "the next job to end")
    assert told == ("COMPLETED", None), f"the next job ended as {told}"
    assert scene.door.waiting() == 0


def _let_an_hour_pass(scene: Scene) -> None:
    """Make everything an hour older and start once more: what is young might belong to a worker that lives."""
    for path in (scene.volume.folder / "outputs").rglob("*"):
        before = path.stat().st_mtime - 3600
        os.utime(path, (before, before))
    scene.door.start()
    _check_next_job(scene)
    scene.door.end()


def _check_leftovers(scene: Scene) -> None:
    """Look for what nobody may leave. An orphan's init, or the kernel, may take a moment to let it go."""
    until(lambda: not dict(processes_of(scene.folder)), f"no process: {dict(processes_of(scene.folder))}", _SETTLE_S)
    names = [path.name for path in scene.temporary.iterdir() if not path.name.startswith(_KEPT_PREFIX)]
    left = [name for name in names if name != _COMFYUI_FOLDER or scene.comfyui is None]
    assert left == [], f"left in the temporary folder: {left}"
    outputs = scene.volume.folder / "outputs"
    half = [str(path) for path in outputs.rglob("*") if ".part" in path.name or path.name.endswith(".tmp")]
    assert half == [], f"half-made files: {half}"
    marks = [path.name for path in outputs.glob("jobs/running/*")]
    assert marks == [], f"marks of attempts: {marks}"
    kept = [path.name for path in outputs.glob("jobs/kept/*") if path.is_file()]
    assert kept == [], f"requests that nobody will take up: {kept}"


def _nothing(scene: Scene, request_id: str) -> None:
    return None


def _cancel(scene: Scene, request_id: str) -> None:
    scene.door.cancel(request_id)


def _signal_the_door(scene: Scene, request_id: str) -> None:
    for number in scene.fault.signals:
        with contextlib.suppress(ProcessLookupError):
            os.kill(scene.door.pid, number)


def _signal_the_child(scene: Scene, request_id: str) -> None:
    children = _children(scene)
    assert len(children) == 1, children
    if signal.SIGSTOP in scene.fault.signals:
        stop(children[0])
        scene.door.cancel(request_id)
    else:
        for number in scene.fault.signals:
            os.kill(children[0], number)


def _deliver_again(scene: Scene, request_id: str) -> None:
    scene.door.repeat(request_id)


def _kill_at_the_result(scene: Scene, request_id: str) -> None:
    assert isinstance(scene.door, RunPodDoor)
    scene.door.plane.wait_for_event("fault", job_id=request_id, timeout_s=PATIENCE_S)
    os.kill(scene.door.pid, signal.SIGKILL)


def _fill(scene: Scene, request_id: str) -> None:
    scene.volume.fill()


def _set_read_only(scene: Scene, request_id: str) -> None:
    scene.volume.set_read_only()


def _ask_from_a_second_worker(scene: Scene, request_id: str) -> None:
    """Ask twice, as a worker does whose clock is the true one; a render that lives must stay one that lives."""
    for _ in range(2):
        assert scene.recorded(request_id) is None, "a live render was called dead"


def _move_away(scene: Scene, request_id: str) -> None:
    scene.volume.move_away()


def _unmount(scene: Scene, request_id: str) -> None:
    scene.volume.unmount()


def _children(scene: Scene) -> list[int]:
    return [pid for pid, words in processes_of(scene.folder) if "wanworker.engines.resident.child" in words]


def _render_until_replaced(scene: Scene, request_id: str) -> None:
    """The second job takes the child over the bound; the third gets another."""
    (leaking,) = _children(scene)
    _check_next_job(scene)
    until(lambda: leaking not in _children(scene), "the leaking child to be ended")
    _check_next_job(scene)
    assert len(_children(scene)) == 1


def _comfyui_of(scene: Scene) -> ComfyUIServer:
    assert scene.comfyui is not None
    return scene.comfyui


def _let_comfyui_die(scene: Scene, request_id: str) -> None:
    _comfyui_of(scene).heal()
    _comfyui_of(scene).die()


def _let_comfyui_die_twice(scene: Scene, request_id: str) -> None:
    _comfyui_of(scene).die()
    scene.wait_for_the_gate()
    _comfyui_of(scene).die()


def _freeze_comfyui(scene: Scene, request_id: str) -> None:
    _comfyui_of(scene).freeze()


def _send_another(scene: Scene, request_id: str) -> None:
    """A remote server cannot be ended: the next job is told at once what is wrong there, once the patience is over."""
    until(lambda: scene.door.told(request_id), "the job to end")
    second = scene.door.submit(scene.request(20))
    assert second is not None
    told = until(lambda: scene.door.told(second), "the next job to be told", 2 * PATIENCE_S)
    assert told[1] == "ENGINE_UNAVAILABLE", f"the job behind the one that hangs was told {told}"


_DEEDS = {
    "nothing": _nothing,
    "cancel": _cancel,
    "signal the door": _signal_the_door,
    "signal the child": _signal_the_child,
    "deliver again": _deliver_again,
    "kill the door at the result": _kill_at_the_result,
    "fill the volume": _fill,
    "make the volume read-only": _set_read_only,
    "move the volume away": _move_away,
    "unmount the volume": _unmount,
    "ask from a second worker": _ask_from_a_second_worker,
    "render until the child is replaced": _render_until_replaced,
    "let ComfyUI die": _let_comfyui_die,
    "let ComfyUI die twice": _let_comfyui_die_twice,
    "freeze ComfyUI": _freeze_comfyui,
    "send another job": _send_another,
}
