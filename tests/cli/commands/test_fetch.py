"""`wanworker fetch` as a person runs it, against a hub on loopback."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakes import command_line
from fakes.hub import FakeHub, fake_hub
from fakes.wan.home import make_checkpoint, write_safetensors
from wanworker.cli._base import CommandFailed
from wanworker.cli.commands import fetch
from wanworker.errors import DiskFull
from wanworker.models.hub.catalogue import PRESETS

FASTWAN = PRESETS["fastwan-5b"]
MODEL = FASTWAN.files[0]

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"

MIB = 1024**2


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    with fake_hub() as made:
        write_safetensors(tmp_path / "whole")
        for file in FASTWAN.files:
            made.files.setdefault(file.repository, {})[file.path] = (tmp_path / "whole").read_bytes()
        yield made


def process(hub: FakeHub, folder: Path, *argv: str) -> tuple[int, str, str]:
    return command_line.run(folder, "fetch", *argv, env={"HF_ENDPOINT": hub.url})


def test_a_python_without_the_hubs_library_says_what_to_install(hub: FakeHub, tmp_path: Path) -> None:
    missing = tmp_path / "without"
    missing.mkdir()
    (missing / "huggingface_hub.py").write_text("raise ModuleNotFoundError('No module named huggingface_hub')")
    path = os.pathsep.join([str(missing), *sys.path])
    env = {"HF_ENDPOINT": hub.url, "PYTHONPATH": path}
    code, said, complained = command_line.run(tmp_path, "fetch", FASTWAN.name, "--dry-run", env=env)

    assert (1, "") == (code, said)
    assert complained.startswith("failed  huggingface_hub is not installed in this Python. requirements.lock has it")
    assert "hint" not in complained, "to run the same command again would not help"


class Terminal(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


@dataclass
class Shell:
    """Runs the command in this process, with a disk and a terminal as a test says; a process of its own takes 2 s."""

    hub: FakeHub
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(
        self, *argv: str, stdin: io.StringIO | None = None, free_bytes: int = 10**15, **env: str
    ) -> tuple[int, str]:
        """Return the exit code and what was said on stdout. Raises what the command raises."""
        places = {"HF_ENDPOINT": self.hub.url, "HOME": str(self.folder), "WAN_CKPT_DIR": str(self.folder / "models")}
        for name, value in (places | env).items():
            self.monkeypatch.setenv(name, value)
        options = command_line.parsed(fetch.FetchOptions, *argv)
        code = fetch.run(options, stdin=stdin or io.StringIO(), free_bytes=lambda _: free_bytes)
        return code, self.capsys.readouterr().out


@pytest.fixture
def shell(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(hub, tmp_path, monkeypatch, capsys)


def test_sizes_are_shown_first_and_the_files_lie_where_comfyui_reads_them(hub: FakeHub, tmp_path: Path) -> None:
    code, said, complained = process(hub, tmp_path, "fastwan-5b", "--yes")

    assert 0 == code, complained
    lines = said.splitlines()
    assert f"{'73 B':>10}  diffusion_models/wan2.2_ti2v_5B_fp16.safetensors" == lines[0]
    assert [file.target for file in FASTWAN.files if not (tmp_path / "models" / file.target).is_file()] == []
    assert "100 %" in complained


def test_upstreams_repository_lies_where_generate_py_reads_it(shell: Shell, tmp_path: Path) -> None:
    shell.hub.add("Wan-AI/Wan2.2-TI2V-5B", make_checkpoint(tmp_path / "upstream", "ti2v-5B"))

    code, said = shell("CLI-TI2V-5B", "--yes")

    assert 0 == code
    assert "7 small files, 0 of them already there" in said
    assert (tmp_path / "models" / "Wan2.2-TI2V-5B" / "google" / "umt5-xxl" / "tokenizer.json").is_file()


def test_a_dry_run_writes_nothing(shell: Shell, hub: FakeHub, tmp_path: Path) -> None:
    code, said = shell("fastwan-5b", "--dry-run")

    assert 0 == code
    assert f"to fetch       292 B of 292 B, into {tmp_path}/models" in said
    assert not (tmp_path / "models").exists()
    assert [] == hub.downloads()


def test_the_list_needs_no_hub(tmp_path: Path) -> None:
    code, said, _ = command_line.run(tmp_path, "fetch", "--list", env={"HF_ENDPOINT": "http://127.0.0.1:1"})

    assert 0 == code
    assert [*PRESETS] == [line.split()[0] for line in said.splitlines()]
    assert "18.8 GB" in said.splitlines()[0]


@pytest.mark.parametrize("columns", [40, 79, 100])
def test_the_list_fits_the_terminal_and_names_every_set_whole(tmp_path: Path, columns: int) -> None:
    code, shown = command_line.on_terminal(tmp_path, "fetch", "--list", columns=columns)

    lines = re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()
    assert 0 == code
    assert [] == [line for line in lines if len(line) > columns]
    assert [*PRESETS] == [line.split()[0] for line in lines if line.split()[0] in PRESETS]
    assert "18.8 GB" in lines[0]
    assert any("size unknown" in line for line in lines)


def test_sigterm_leaves_a_terminal_with_its_cursor(hub: FakeHub, tmp_path: Path) -> None:
    hub.files[MODEL.repository][MODEL.path] = bytes(17 * MIB)
    hub.stalls_after[MODEL.path] = 9 * MIB
    told: list[str] = []

    def stop(shown: str, process: subprocess.Popen[bytes]) -> None:
        if HIDE_CURSOR in shown and not told:
            told.append(shown)
            process.send_signal(signal.SIGTERM)

    argv, env = ("fetch", "fastwan-5b", "--yes"), {"HF_ENDPOINT": hub.url}
    code, shown = command_line.on_terminal(tmp_path, *argv, columns=80, env=env, at=stop)

    assert 143 == code, shown
    assert shown.rindex(SHOW_CURSOR) > shown.rindex(HIDE_CURSOR)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_what_came_and_the_next_run_goes_on_from_there(
    hub: FakeHub, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    large = bytes(17 * MIB)
    hub.files[MODEL.repository][MODEL.path] = large
    hub.stalls_after[MODEL.path] = 9 * MIB
    fetching = command_line.start(tmp_path, "fetch", "fastwan-5b", "--yes", env={"HF_ENDPOINT": hub.url})
    folder = tmp_path / "models" / "diffusion_models"
    deadline = time.monotonic() + 20
    while not any(part.stat().st_size >= 8 * MIB for part in folder.glob("*.part")) and time.monotonic() < deadline:
        time.sleep(0.05)
    fetching.send_signal(number)
    _, complained = fetching.communicate(timeout=20)
    left = [(part.name.endswith(".part"), part.stat().st_size) for part in folder.iterdir()]
    hub.asked.clear()

    again, said, _ = process(hub, tmp_path, "fastwan-5b", "--yes")

    assert (code, [(True, 8 * MIB)]) == (fetching.returncode, left)
    assert ("The data that has arrived is kept" in complained) == (number == signal.SIGINT)
    assert "8.4 MB of it are already there" in said
    assert 0 == again
    assert large == (tmp_path / "models" / MODEL.target).read_bytes()
    asked = sorted(line for line in hub.downloads() if line.startswith(MODEL.path))
    assert sorted(f"{MODEL.path} from byte {start * MIB}" for start in (8, 12, 16)) == asked


def test_offline_mode_is_named(hub: FakeHub, tmp_path: Path) -> None:
    env = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "1"}

    code, _, complained = command_line.run(tmp_path, "fetch", "fastwan-5b", "--yes", env=env)

    assert 1 == code
    assert "did not list" in complained
    assert "HF_HUB_OFFLINE" in complained
    assert [] == hub.asked


def test_a_corrupt_file_is_refused_and_removed(shell: Shell, hub: FakeHub, tmp_path: Path) -> None:
    hub.serves[MODEL.path] = bytes(len(hub.files[MODEL.repository][MODEL.path]))

    with pytest.raises(CommandFailed, match="did not arrive intact") as caught:
        shell("fastwan-5b", "--yes")

    assert 1 == caught.value.exit_code
    assert [] == list((tmp_path / "models" / MODEL.folder).iterdir())


def test_a_disk_without_room_is_an_error_before_anything_comes(shell: Shell, hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match=r"fastwan-5b needs 292 B in .* 5\.0 MB are free"):
        shell("fastwan-5b", "--yes", free_bytes=5_000_000)

    assert "to fetch       292 B" in shell.capsys.readouterr().out
    assert [] == hub.downloads()
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("typed", "fetched"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_nothing_comes_unless_the_person_agrees(shell: Shell, tmp_path: Path, typed: str, fetched: bool) -> None:
    if fetched:
        assert 0 == shell("fastwan-5b", stdin=Terminal(typed))[0]
    else:
        with pytest.raises(CommandFailed, match="Nothing was fetched"):
            shell("fastwan-5b", stdin=Terminal(typed))

    assert fetched == (tmp_path / "models" / MODEL.target).is_file()


def test_a_script_has_to_agree_beforehand(shell: Shell, hub: FakeHub) -> None:
    with pytest.raises(CommandFailed, match="no terminal to ask whether to fetch 292 B") as caught:
        shell("fastwan-5b")

    assert (2, "Add --yes to fetch without asking.") == (caught.value.exit_code, caught.value.hint)
    assert [] == hub.downloads()


def test_what_lies_in_a_comfyui_on_the_volume_is_not_fetched_again(shell: Shell, tmp_path: Path) -> None:
    there = tmp_path / "models" / "ComfyUI" / "models" / "unet" / MODEL.name
    cached = tmp_path / "hub" / f"models--{MODEL.repository.replace('/', '--')}" / "snapshots" / "abc" / "split_files"
    for path in (there, cached / "vae" / "wan2.2_vae.safetensors"):
        path.parent.mkdir(parents=True)
        write_safetensors(path)

    code, said = shell("fastwan-5b", "--yes", HF_HUB_CACHE=str(tmp_path / "hub"))

    assert 0 == code
    assert f"{MODEL.name}  already there: {there}" in said
    assert f"wan2.2_vae.safetensors  already there: {cached}/vae/wan2.2_vae.safetensors" in said
    assert "146 B of 292 B" in said
    assert 2 == len(shell.hub.downloads())


def test_a_set_that_is_there_is_said_to_be(shell: Shell) -> None:
    shell("fastwan-5b", "--yes")
    code, said = shell("fastwan-5b")

    assert 0 == code
    assert "All 292 B of fastwan-5b are already there." in said


def test_another_folder_is_filled_and_said_not_to_be_searched(shell: Shell, tmp_path: Path) -> None:
    code, said = shell("fastwan-5b", "--yes", "--dir", "elsewhere")

    assert 0 == code
    assert f"The engines do not search {tmp_path}/elsewhere. Set WAN_CKPT_DIR to this folder." in said
    assert (tmp_path / "elsewhere" / MODEL.target).is_file()


def test_a_token_is_sent_and_never_shown(shell: Shell, hub: FakeHub) -> None:
    hub.token = "hf_secret"

    with pytest.raises(CommandFailed) as caught:
        shell("fastwan-5b", "--yes", HF_TOKEN="hf_wrong")
    code, said = shell("fastwan-5b", "--yes", HF_TOKEN="hf_secret")

    assert 0 == code
    assert "needs HF_TOKEN" in caught.value.hint
    assert "hf_" not in f"{caught.value} {said}"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["fastwan"], "Nearest: fastwan-5b"),
        ([], "Give the name of a set of weights."),
        (["xyz"], "no set of weights 'xyz'"),
    ],
)
def test_a_name_that_is_none_is_a_misuse(shell: Shell, argv: list[str], said: str) -> None:
    with pytest.raises(CommandFailed) as caught:
        shell(*argv)

    assert 2 == caught.value.exit_code
    assert said in f"{caught.value} {caught.value.hint}"
