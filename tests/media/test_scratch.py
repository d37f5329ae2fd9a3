import os
import subprocess
import sys
from pathlib import Path

from wanworker.media.scratch import remove_abandoned, scratch_folder
from wanworker.settings import child_environment

#: A worker that is in the middle of a job.
HOLDER = """
import sys
from pathlib import Path
from wanworker.media.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "frames").mkdir()
    (folder / "frames" / "1.png").write_bytes(b"pixels")
    print(folder, flush=True)
    sys.stdin.read()
"""


def holder(place: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(place)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=child_environment(),
    )  # fmt: skip


def test_a_folder_is_gone_after_its_use(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        (folder / "file").touch()
        assert folder.parent == tmp_path

    assert [] == list(tmp_path.iterdir())


def test_a_killed_workers_folder_is_removed_and_a_living_ones_never(tmp_path: Path) -> None:
    with holder(tmp_path) as killed, holder(tmp_path) as living, scratch_folder(tmp_path) as ours:
        assert killed.stdout is not None
        assert living.stdout is not None
        abandoned, kept = Path(killed.stdout.readline().strip()), Path(living.stdout.readline().strip())
        assert 0 == remove_abandoned(tmp_path)
        killed.kill()
        killed.wait()
        assert abandoned.exists()

        removed = remove_abandoned(tmp_path)

        assert 1 == removed
        assert not abandoned.exists()
        assert (kept / "frames" / "1.png").exists()
        assert ours.exists()


def test_what_others_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "wanworker-venv").mkdir()
    (tmp_path / "target").mkdir()
    (tmp_path / "wanworker-scratch-link").symlink_to(tmp_path / "target")
    (tmp_path / "wanworker-scratch-file").touch()

    assert 0 == remove_abandoned(tmp_path)

    assert 4 == len(list(tmp_path.iterdir()))


def test_a_folder_that_a_start_removes_before_it_is_locked_is_made_again(tmp_path: Path) -> None:
    removed = list[int]()

    def open_folder(name: str, flags: int) -> int:
        if not removed:
            removed.append(remove_abandoned(tmp_path))
        return os.open(name, flags)

    with scratch_folder(tmp_path, open_folder=open_folder) as folder:
        assert [1] == removed
        assert [folder] == list(tmp_path.iterdir())
