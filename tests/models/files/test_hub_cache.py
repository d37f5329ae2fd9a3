"""Snapshots in Hugging Face's cache, as it lies on disk."""

from __future__ import annotations

from pathlib import Path

from wanworker.models.files.hub_cache import snapshots

REPOSITORY = "Wan-AI/Wan2.2-TI2V-5B"


def make(hub: Path, *commits: str, main: str | None = None) -> Path:
    folder = hub / "models--Wan-AI--Wan2.2-TI2V-5B"
    for commit in commits:
        (folder / "snapshots" / commit).mkdir(parents=True)
    if main is not None:
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(f"{main}\n")
    return folder / "snapshots"


def test_what_main_points_at_comes_first(tmp_path: Path) -> None:
    folder = make(tmp_path, "aaa", "bbb", "ccc", main="bbb")

    assert (folder / "bbb", folder / "aaa", folder / "ccc") == snapshots([tmp_path], REPOSITORY)


def test_a_cache_without_refs_gives_its_snapshots_by_name(tmp_path: Path) -> None:
    folder = make(tmp_path, "bbb", "aaa")

    assert (folder / "aaa", folder / "bbb") == snapshots([tmp_path], REPOSITORY)


def test_the_caches_come_in_their_order_and_others_are_left_alone(tmp_path: Path) -> None:
    second = make(tmp_path / "second", "bbb")
    first = make(tmp_path / "first", "ccc")

    places = [tmp_path / "first", tmp_path / "nowhere", tmp_path / "second"]

    assert (first / "ccc", second / "bbb") == snapshots(places, REPOSITORY)
    assert () == snapshots(places, "Wan-AI/Wan2.2-S2V-14B")
