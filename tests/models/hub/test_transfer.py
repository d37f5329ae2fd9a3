"""Files from a loopback hub: broken off and gone on with, checked, and never half there."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.hub import FakeHub, fake_hub
from wanworker.errors import DiskFull
from wanworker.models.hub._transfer import digest_of, part_bytes, part_of, transfer
from wanworker.models.hub.api import FetchFailed, Hub, HubFile

REPOSITORY = "Some-Org/Weights"
MIB = 1024**2
#: Larger than what comes in one answer: it comes in blocks of 4 MiB, and what is left.
DATA = os.urandom(17 * MIB)
BLOCKS = [0, 4 * MIB, 8 * MIB, 12 * MIB, 16 * MIB]
NAME = "vae/model.safetensors"


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with fake_hub() as made:
        made.files[REPOSITORY] = {NAME: DATA, "config.json": b'{"a": 1}\n'}
        yield made


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "vae" / "model.safetensors"


def listed(hub: FakeHub, name: str = NAME, token: str | None = None) -> HubFile:
    return Hub(hub.url, token=token).files(REPOSITORY)[name]


def fetch(hub: FakeHub, file: HubFile, target: Path, *, token: str | None = None) -> int:
    """Have *file* at *target*, and return how many bytes came."""
    came: list[int] = []
    waits: list[float] = []
    transfer(Hub(hub.url, token=token, pause=waits.append), [(file, target)], lambda _, number: came.append(number))
    return sum(came)


def nobody(target: Path, number: int) -> None:
    """Count nothing."""


def asked(*starts: int) -> list[str]:
    """Return how the hub notes downloads from these bytes on."""
    return sorted(f"{NAME} from byte {start}" if start else NAME for start in starts)


def test_a_large_file_comes_in_blocks_and_leaves_no_part(hub: FakeHub, target: Path) -> None:
    came = fetch(hub, listed(hub), target)

    assert DATA == target.read_bytes()
    assert [target] == list(target.parent.iterdir())
    assert len(DATA) == came
    assert asked(*BLOCKS) == sorted(hub.downloads())


def test_blocks_of_one_file_come_at_once(hub: FakeHub, target: Path) -> None:
    # The first does not come before the last has.
    class Held(Hub):
        def read(self, file: HubFile, start: int, end: int) -> bytes:
            if end == file.size_bytes:
                last_came.set()
            assert last_came.wait(30)
            return super().read(file, start, end)

    last_came = threading.Event()

    transfer(Held(hub.url), [(listed(hub), target)], nobody)

    assert DATA == target.read_bytes()


def test_several_files_come_at_once_and_an_empty_one_is_made(hub: FakeHub, tmp_path: Path) -> None:
    hub.files[REPOSITORY] |= {"a.safetensors": b"a", "none.json": b"", "b.safetensors": b"b"}
    names = ["a.safetensors", "none.json", "b.safetensors"]
    together = threading.Barrier(2, timeout=30)

    class Held(Hub):
        def read(self, file: HubFile, start: int, end: int) -> bytes:
            together.wait()
            return super().read(file, start, end)

    wanted = [(listed(hub, name), tmp_path / name) for name in names]
    transfer(Held(hub.url), wanted, nobody)

    assert [b"a", b"", b"b"] == [(tmp_path / name).read_bytes() for name in names]


def test_a_small_file_is_checked_against_gits_own_hash(hub: FakeHub, tmp_path: Path) -> None:
    file = listed(hub, "config.json")

    fetch(hub, file, tmp_path / "config.json")

    assert 40 == len(file.digest)
    assert file.digest == digest_of(tmp_path / "config.json", file.digest)


def test_a_block_whose_connection_breaks_is_asked_for_again(hub: FakeHub, target: Path) -> None:
    hub.breaks_after[NAME] = 9 * MIB

    came = fetch(hub, listed(hub), target)

    assert DATA == target.read_bytes()
    assert asked(*BLOCKS, 8 * MIB) == sorted(hub.downloads())
    assert len(DATA) == came


def test_a_fetch_that_failed_is_gone_on_with_by_the_next(hub: FakeHub, target: Path) -> None:
    hub.refuses_from[NAME] = 9 * MIB
    with pytest.raises(FetchFailed, match=r"model\.safetensors of Some-Org/Weights did not arrive: .*403"):
        fetch(hub, listed(hub), target)
    left = part_bytes(target, listed(hub))
    hub.refuses_from.clear()
    hub.asked.clear()

    came = fetch(hub, listed(hub), target)

    assert DATA == target.read_bytes()
    assert 8 * MIB == left
    assert asked(*BLOCKS[2:]) == sorted(hub.downloads())
    assert len(DATA) - left == came


def test_a_hub_that_never_answers_is_given_up(hub: FakeHub, target: Path) -> None:
    waits: list[float] = []
    gone = Hub("http://127.0.0.1:1", pause=waits.append)

    with pytest.raises(FetchFailed, match=r"config\.json of Some-Org/Weights did not arrive"):
        transfer(gone, [(listed(hub, "config.json"), target)], nobody)

    assert [1.0] * 5 == waits


def test_a_server_that_sends_the_whole_for_a_part_is_named(hub: FakeHub, target: Path) -> None:
    hub.ignores_ranges = True

    with pytest.raises(FetchFailed, match=r"is needed in parts, but .* sends only the whole file"):
        fetch(hub, listed(hub), target)


def test_a_gated_repository_is_told_what_to_accept(hub: FakeHub, target: Path) -> None:
    hub.gated.add(REPOSITORY)

    with pytest.raises(FetchFailed, match=rf"Some-Org/Weights is gated\. Accept its terms at {hub.url}/Some-Org/W"):
        fetch(hub, listed(hub), target)


def test_other_bytes_than_the_hub_says_are_refused_and_removed(hub: FakeHub, target: Path) -> None:
    hub.serves[NAME] = DATA[:-1] + bytes([DATA[-1] ^ 1])

    with pytest.raises(FetchFailed, match="did not arrive intact"):
        fetch(hub, listed(hub), target)

    assert [] == list(target.parent.iterdir())


def test_wrong_bytes_in_a_part_are_found_at_the_end_and_removed(hub: FakeHub, target: Path) -> None:
    target.parent.mkdir(parents=True)
    part_of(target, listed(hub)).write_bytes(bytes(500_000))

    with pytest.raises(FetchFailed, match="Run the command again"):
        fetch(hub, listed(hub), target)
    fetch(hub, listed(hub), target)

    assert DATA == target.read_bytes()


def test_a_part_that_is_whole_is_not_fetched_again(hub: FakeHub, target: Path) -> None:
    target.parent.mkdir(parents=True)
    part_of(target, listed(hub)).write_bytes(DATA)

    fetch(hub, listed(hub), target)

    assert DATA == target.read_bytes()
    assert [] == hub.downloads()


def test_a_part_longer_than_the_file_is_begun_anew(hub: FakeHub, target: Path) -> None:
    target.parent.mkdir(parents=True)
    part_of(target, listed(hub)).write_bytes(DATA + b"more")

    fetch(hub, listed(hub), target)

    assert DATA == target.read_bytes()


def test_a_file_that_changed_on_the_hub_does_not_go_on_from_the_old_part(hub: FakeHub, target: Path) -> None:
    target.parent.mkdir(parents=True)
    old = part_of(target, listed(hub))
    old.write_bytes(DATA[:1000])
    hub.files[REPOSITORY][NAME] = DATA[::-1]

    fetch(hub, listed(hub), target)

    assert DATA[::-1] == target.read_bytes()
    assert not old.exists()


def test_two_fetches_of_one_file_do_not_mix(hub: FakeHub, target: Path) -> None:
    target.parent.mkdir(parents=True)
    part = part_of(target, listed(hub))

    with part.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(FetchFailed, match="Another fetch is writing"):
            fetch(hub, listed(hub), target)

    assert part.exists()


def test_a_disk_that_fills_up_is_named(hub: FakeHub, target: Path) -> None:
    target.parent.mkdir(parents=True)
    part_of(target, listed(hub)).symlink_to("/dev/full")

    with pytest.raises(DiskFull, match=r"No space left for model\.safetensors") as caught:
        fetch(hub, listed(hub), target)

    assert "resumes from there" in (caught.value.hint or "")


def test_a_folder_that_cannot_be_made_is_named(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "models").touch()

    with pytest.raises(FetchFailed, match="cannot be written"):
        fetch(hub, listed(hub), tmp_path / "models" / "a.safetensors")


def test_the_token_goes_to_the_hub_and_to_nobody_else(hub: FakeHub, target: Path) -> None:
    hub.token = "hf_secret"
    file = listed(hub, token="hf_secret")

    fetch(hub, file, target, token="hf_secret")

    assert {None} == set(hub.tokens_at_cdn)
    with pytest.raises(FetchFailed, match=r"did not list Some-Org/Weights: .*401") as caught:
        listed(hub, token="hf_wrong")
    assert "hf_wrong" not in str(caught.value)


def test_a_repository_that_is_not_there_is_named(hub: FakeHub) -> None:
    with pytest.raises(FetchFailed, match=r"did not list Some-Org/Other: .*404"):
        Hub(hub.url).files("Some-Org/Other")


def test_a_hub_that_is_not_there_is_named() -> None:
    with pytest.raises(FetchFailed, match=r"The hub at http://127\.0\.0\.1:1 did not list a/b"):
        Hub("http://127.0.0.1:1").files("a/b")


@pytest.mark.parametrize("path", ["../outside.json", "/etc/passwd.json", "a\\..\\b.json"])
def test_a_listed_path_that_leaves_its_folder_is_refused(hub: FakeHub, path: str) -> None:
    hub.files[REPOSITORY][path] = b"{}"

    with pytest.raises(FetchFailed, match="outside its folder"):
        listed(hub)
