"""Files from a loopback hub: broken off and gone on with, checked, and never half there."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from fakes.hub import FakeHub, fake_hub
from wanworker.errors import DiskFull
from wanworker.models.hub._transfer import digest_of, part_bytes, part_of, transfer
from wanworker.models.hub.api import Count, FetchFailed, Hub, HubFile

REPOSITORY = "Some-Org/Weights"
#: huggingface_hub hands over 10 MiB at a time: what is less when a connection breaks, is lost.
BLOCK = 10 * 1024**2
DATA = os.urandom(BLOCK + 2_000_000)
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


def nobody(number: int) -> None:
    """Count nothing."""


def test_a_large_file_comes_whole_and_leaves_no_part(hub: FakeHub, target: Path) -> None:
    came: list[int] = []

    transfer(Hub(hub.url), listed(hub), target, came.append)

    assert DATA == target.read_bytes()
    assert [target] == list(target.parent.iterdir())
    assert len(DATA) == sum(came)


def test_a_small_file_is_checked_against_gits_own_hash(hub: FakeHub, tmp_path: Path) -> None:
    file = listed(hub, "config.json")

    transfer(Hub(hub.url), file, tmp_path / "config.json", nobody)

    assert 40 == len(file.digest)
    assert file.digest == digest_of(tmp_path / "config.json", file.digest)


def test_a_connection_that_breaks_is_taken_up_where_it_broke(hub: FakeHub, target: Path) -> None:
    hub.breaks_after[NAME] = BLOCK + 1_000_000
    came: list[int] = []

    transfer(Hub(hub.url), listed(hub), target, came.append)

    assert DATA == target.read_bytes()
    assert [NAME, f"{NAME} from byte {BLOCK}"] == hub.downloads()
    assert len(DATA) == sum(came)


def test_a_fetch_that_failed_is_gone_on_with_by_the_next(hub: FakeHub, target: Path) -> None:
    hub.breaks_after[NAME], hub.stays_down = BLOCK + 1_000_000, True
    with pytest.raises(FetchFailed, match=r"model\.safetensors of Some-Org/Weights did not come: .*503"):
        transfer(Hub(hub.url), listed(hub), target, nobody)
    left = part_bytes(target, listed(hub))
    hub.is_down = False
    came: list[int] = []

    transfer(Hub(hub.url), listed(hub), target, came.append)

    assert DATA == target.read_bytes()
    assert BLOCK == left
    assert [NAME, f"{NAME} from byte {BLOCK}"] == hub.downloads()
    assert len(DATA) - BLOCK == sum(came)


def test_a_server_that_sends_the_whole_for_the_rest_is_begun_anew(hub: FakeHub, target: Path) -> None:
    hub.breaks_after[NAME], hub.ignores_ranges = BLOCK + 1_000_000, True

    transfer(Hub(hub.url), listed(hub), target, nobody)

    assert DATA == target.read_bytes()


def test_other_bytes_than_the_hub_says_are_refused_and_removed(hub: FakeHub, target: Path) -> None:
    hub.serves[NAME] = DATA[:-1] + bytes([DATA[-1] ^ 1])

    with pytest.raises(FetchFailed, match="other bytes than the hub says"):
        transfer(Hub(hub.url), listed(hub), target, nobody)

    assert [] == list(target.parent.iterdir())


def test_wrong_bytes_in_a_part_are_found_at_the_end_and_removed(hub: FakeHub, target: Path) -> None:
    target.parent.mkdir(parents=True)
    part_of(target, listed(hub)).write_bytes(bytes(500_000))

    with pytest.raises(FetchFailed, match="Run the command again"):
        transfer(Hub(hub.url), listed(hub), target, nobody)
    transfer(Hub(hub.url), listed(hub), target, nobody)

    assert DATA == target.read_bytes()


def test_a_part_that_is_whole_is_not_fetched_again(hub: FakeHub, target: Path) -> None:
    target.parent.mkdir(parents=True)
    part_of(target, listed(hub)).write_bytes(DATA)

    transfer(Hub(hub.url), listed(hub), target, nobody)

    assert DATA == target.read_bytes()
    assert [] == hub.downloads()


def test_a_part_longer_than_the_file_is_begun_anew(hub: FakeHub, target: Path) -> None:
    target.parent.mkdir(parents=True)
    part_of(target, listed(hub)).write_bytes(DATA + b"more")

    transfer(Hub(hub.url), listed(hub), target, nobody)

    assert DATA == target.read_bytes()


def test_a_file_that_changed_on_the_hub_does_not_go_on_from_the_old_part(hub: FakeHub, target: Path) -> None:
    target.parent.mkdir(parents=True)
    old = part_of(target, listed(hub))
    old.write_bytes(DATA[:1000])
    hub.files[REPOSITORY][NAME] = DATA[::-1]

    transfer(Hub(hub.url), listed(hub), target, nobody)

    assert DATA[::-1] == target.read_bytes()
    assert not old.exists()


def test_two_fetches_of_one_file_do_not_mix(hub: FakeHub, target: Path) -> None:
    target.parent.mkdir(parents=True)
    part = part_of(target, listed(hub))

    with part.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(FetchFailed, match="Another fetch is writing"):
            transfer(Hub(hub.url), listed(hub), target, nobody)

    assert part.exists()


class FullDisk:
    """A source whose bytes find no room after the first megabyte."""

    def download(self, file: HubFile, stream: BinaryIO, *, from_byte: int, count: Count) -> None:
        stream.write(DATA[:1_000_000])
        raise OSError(errno.EDQUOT, "Disk quota exceeded")


def test_a_disk_that_fills_up_is_named_and_what_came_is_kept(target: Path) -> None:
    file = HubFile(REPOSITORY, "main", NAME, len(DATA), hashlib.sha256(DATA).hexdigest())

    with pytest.raises(DiskFull, match=r"No space left for model\.safetensors") as caught:
        transfer(FullDisk(), file, target, nobody)

    assert 1_000_000 == part_bytes(target, file)
    assert "goes on from there" in (caught.value.hint or "")


def test_a_folder_that_cannot_be_made_is_named(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "models").touch()

    with pytest.raises(FetchFailed, match="cannot be written"):
        transfer(Hub(hub.url), listed(hub), tmp_path / "models" / "a.safetensors", nobody)


def test_the_token_goes_to_the_hub_and_to_nobody_else(hub: FakeHub, target: Path) -> None:
    hub.token = "hf_secret"
    file = listed(hub, token="hf_secret")

    transfer(Hub(hub.url, token="hf_secret"), file, target, nobody)

    assert [None] == hub.tokens_at_cdn
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
