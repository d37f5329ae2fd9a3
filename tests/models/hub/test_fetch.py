"""What is fetched, what is left alone because it is there, and what does not fit."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.hub import FakeHub, fake_hub
from fakes.wan.home import make_checkpoint, write_safetensors
from wanworker.engines.wan_cli.checkpoint import locate
from wanworker.errors import DiskFull
from wanworker.models.hub.api import FetchFailed, Hub
from wanworker.models.hub.catalogue import PRESETS, Preset
from wanworker.models.hub.fetch import Plan, Step, carry_out, check_space, free_on_disk, in_words, plan
from wanworker.spec import TASKS

FASTWAN, CLI_5B = PRESETS["fastwan-5b"], PRESETS["cli-ti2v-5b"]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    with fake_hub() as made:
        write_safetensors(tmp_path / "whole")
        for file in FASTWAN.files:
            made.files.setdefault(file.repository, {})[file.path] = (tmp_path / "whole").read_bytes()
        made.add("Wan-AI/Wan2.2-TI2V-5B", make_checkpoint(tmp_path / "upstream", "ti2v-5B"))
        made.files["Wan-AI/Wan2.2-TI2V-5B"]["README.md"] = b"about"
        yield made


def nowhere(target: str) -> Iterable[Path]:
    return ()


def planned(hub: FakeHub, models: Path, preset: Preset = FASTWAN, **where: Any) -> Plan:
    return plan(preset, Hub(hub.url), models, **{"elsewhere": nowhere, **where})


def fetch(hub: FakeHub, wanted: Plan) -> list[tuple[str, int]]:
    told: list[tuple[str, int]] = []

    def report(step: Step, came: int) -> None:
        told.append((step.target.name, came))

    carry_out(wanted, Hub(hub.url), report=report)
    return told


def test_a_comfyui_set_lies_in_comfyuis_folders(hub: FakeHub, tmp_path: Path) -> None:
    wanted = planned(hub, tmp_path / "models")

    told = fetch(hub, wanted)

    found = sorted(str(path.relative_to(tmp_path / "models")) for path in (tmp_path / "models").rglob("*.*"))
    assert sorted(file.target for file in FASTWAN.files) == found
    assert wanted.left_bytes == wanted.size_bytes == told[-1][1]


def test_a_repository_becomes_a_checkpoint_that_the_engine_takes(hub: FakeHub, tmp_path: Path) -> None:
    fetch(hub, planned(hub, tmp_path / "models", CLI_5B))

    located = locate(TASKS["ti2v-5B"], [tmp_path / "models"])

    assert tmp_path / "models" / "Wan2.2-TI2V-5B" == located.folder
    assert not (tmp_path / "models" / "Wan2.2-TI2V-5B" / "README.md").exists()


def test_a_second_fetch_has_nothing_to_do(hub: FakeHub, tmp_path: Path) -> None:
    fetch(hub, planned(hub, tmp_path / "models"))
    again = planned(hub, tmp_path / "models")

    assert () == again.to_fetch
    assert 0 == again.left_bytes
    assert again.size_bytes > 0


def test_a_fetch_that_broke_off_leaves_finished_files_for_the_next(hub: FakeHub, tmp_path: Path) -> None:
    broken = FASTWAN.files[2].path
    hub.refuses_from[broken] = 0
    with pytest.raises(FetchFailed, match="did not arrive"):
        fetch(hub, planned(hub, tmp_path / "models"))
    hub.refuses_from.clear()

    again = planned(hub, tmp_path / "models")

    assert [file.name for file in FASTWAN.files[2:]] == [step.target.name for step in again.to_fetch]


def test_what_an_earlier_try_left_is_not_counted_twice(hub: FakeHub, tmp_path: Path) -> None:
    wanted = planned(hub, tmp_path / "models")
    step = wanted.steps[0]
    step.target.parent.mkdir(parents=True)
    step.target.with_name(f"{step.target.name}.{step.file.digest[:12]}.part").write_bytes(b"12345")

    again = planned(hub, tmp_path / "models")

    assert 5 == again.steps[0].part_bytes
    assert wanted.left_bytes - 5 == again.left_bytes


def test_a_file_that_lies_elsewhere_is_not_fetched(hub: FakeHub, tmp_path: Path) -> None:
    other = tmp_path / "ComfyUI" / "unet.safetensors"
    other.parent.mkdir()
    write_safetensors(other)

    def elsewhere(target: str) -> list[Path]:
        return [other] if target.startswith("diffusion_models/") else []

    wanted = planned(hub, tmp_path / "models", elsewhere=elsewhere)

    assert [other] == [step.held for step in wanted.steps if step.held]
    assert 3 == len(wanted.to_fetch)


def test_a_truncated_file_is_fetched_again(hub: FakeHub, tmp_path: Path) -> None:
    fetch(hub, planned(hub, tmp_path / "models"))
    cut = tmp_path / "models" / FASTWAN.files[0].target
    cut.write_bytes(cut.read_bytes()[:-1])

    wanted = planned(hub, tmp_path / "models")
    fetch(hub, wanted)

    assert [cut] == [step.target for step in wanted.to_fetch]
    assert "bytes are there, but the hub has" in wanted.to_fetch[0].replaces
    assert () == planned(hub, tmp_path / "models").to_fetch


def test_a_file_of_the_right_size_without_a_whole_header_is_fetched_again(hub: FakeHub, tmp_path: Path) -> None:
    fetch(hub, planned(hub, tmp_path / "models"))
    damaged = tmp_path / "models" / FASTWAN.files[1].target
    damaged.write_bytes(bytes(damaged.stat().st_size))

    (step,) = planned(hub, tmp_path / "models").to_fetch

    assert (damaged, "no safetensors header in a file of 73 bytes") == (step.target, step.replaces)


def test_verify_finds_a_byte_that_only_the_hash_can_find(hub: FakeHub, tmp_path: Path) -> None:
    fetch(hub, planned(hub, tmp_path / "models"))
    changed = tmp_path / "models" / FASTWAN.files[1].target
    changed.write_bytes(changed.read_bytes()[:-1] + b"x")

    assert () == planned(hub, tmp_path / "models").to_fetch
    (step,) = planned(hub, tmp_path / "models", verify=True).to_fetch
    assert (changed, "its hash is not the hub's") == (step.target, step.replaces)


def test_a_repository_that_lies_whole_in_the_hubs_cache_is_not_fetched(hub: FakeHub, tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--Wan-AI--Wan2.2-TI2V-5B" / "snapshots" / "abc"
    shutil.copytree(tmp_path / "upstream", snapshot)

    wanted = planned(hub, tmp_path / "models", CLI_5B, folders=[snapshot])

    assert () == wanted.to_fetch


def test_half_a_repository_elsewhere_counts_for_nothing(hub: FakeHub, tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot"
    shutil.copytree(tmp_path / "upstream", snapshot)
    (snapshot / "Wan2.2_VAE.pth").unlink()

    wanted = planned(hub, tmp_path / "models", CLI_5B, folders=[snapshot])

    assert len(wanted.steps) == len(wanted.to_fetch)
    assert {tmp_path / "models" / "Wan2.2-TI2V-5B"} == {
        step.target.parent for step in wanted.steps if "/" not in step.file.path
    }


def test_a_name_that_moved_on_the_hub_is_found_for_the_message(hub: FakeHub, tmp_path: Path) -> None:
    files = hub.files[FASTWAN.files[0].repository]
    files["split_files/elsewhere/wan2.2_vae.safetensors"] = files.pop("split_files/vae/wan2.2_vae.safetensors")

    with pytest.raises(FetchFailed, match=r"has no split_files/vae/wan2\.2_vae\.safetensors; split_files/elsewhere/"):
        planned(hub, tmp_path / "models")


def test_too_little_room_is_said_before_anything_is_written(hub: FakeHub, tmp_path: Path) -> None:
    wanted = planned(hub, tmp_path / "models")

    check_space(wanted, wanted.left_bytes + 1_000_000_000)
    with pytest.raises(DiskFull, match=r"fastwan-5b needs 292 B in .*models and 1\.0 GB to spare; 12\.0 MB are free"):
        check_space(wanted, 12_000_000)

    assert not (tmp_path / "models").exists()
    assert [] == hub.downloads()


def test_nothing_to_fetch_needs_no_room(hub: FakeHub, tmp_path: Path) -> None:
    fetch(hub, planned(hub, tmp_path / "models"))

    check_space(planned(hub, tmp_path / "models"), 0)


def test_the_room_of_a_folder_that_is_not_there_is_its_parents(tmp_path: Path) -> None:
    assert abs(free_on_disk(tmp_path / "a" / "b") - free_on_disk(tmp_path)) < 1_000_000_000


@pytest.mark.parametrize(
    ("size", "words"),
    [(14_294_742_832, "14.3 GB"), (5_200_000, "5.2 MB"), (1_000, "1.0 kB"), (310, "310 B"), (0, "0 B")],
)
def test_sizes_are_said_as_volumes_are_sold(size: int, words: str) -> None:
    assert words == in_words(size)
