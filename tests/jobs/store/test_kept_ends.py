"""What somebody has to be told of a job's end belongs to one process, and to another only once that has died."""

import itertools
import stat

import pytest

from fakes.other_workers import Clock, alive, elsewhere, killed
from wanworker.jobs._owner import Owner
from wanworker.jobs.store.job_store import JobStore


def store_of(settings, owner=Owner.of_this_process, clock=None):
    clock = clock or Clock()
    quiet = {"clock": clock, "elapsed": clock, "in_background": lambda _beat, _every_s: None}
    return JobStore(settings.jobs_dir, owner=owner, **quiet)


def test_what_is_kept_comes_back_and_only_its_owner_can_read_it(settings):
    ends = store_of(settings).ends
    ends.put("a", "https://example.com/hook")
    before = ends.get("a")
    ends.put("a", "https://example.com/hook", b'{"id":\n"a"}')
    path = settings.jobs_dir / "ends" / "a.json"

    assert (("https://example.com/hook", b""), ("https://example.com/hook", b'{"id":\n"a"}')) == (before, ends.get("a"))
    assert 0 == stat.S_IMODE(path.stat().st_mode) & 0o077
    ends.remove("a")
    assert ends.get("a") is None


@pytest.mark.parametrize("owner", [killed, Owner.of_this_process])
def test_a_file_is_left_once_its_process_has_died_or_another_owner_in_this_one_has_gone(settings, owner):
    store_of(settings, owner).ends.put("a", "https://example.com/hook", b"x" * 50_000)
    ends = store_of(settings).ends

    assert ["a"] == ends.left()
    ends.put("a", "https://example.com/hook", b"end")
    assert [] == ends.left()


def test_a_file_of_a_living_process_is_left_to_it(settings):
    with alive() as owner:
        store_of(settings, owner).ends.put("a", "https://example.com/hook")
        assert [] == store_of(settings).ends.left()


def test_a_process_elsewhere_is_judged_by_its_mark(settings):
    clock = Clock()
    there = store_of(settings, elsewhere)
    there.ends.put("a", "https://example.com/hook")
    here = store_of(settings, clock=clock).ends
    found = [here.left()]
    for step in itertools.repeat(20, 2):
        clock.now += step
        found.append(here.left())

    assert [[], [], ["a"]] == found


def test_a_file_that_says_nothing_is_left_to_be_removed(settings):
    ends = store_of(settings).ends
    ends.put("a", "https://example.com/hook")
    (settings.jobs_dir / "ends" / "b.json").write_bytes(b"{")

    assert (["b"], None) == (ends.left(), ends.get("b"))


def test_who_closes_leaves_what_it_has_and_no_mark(settings):
    store = store_of(settings)
    store.ends.put("a", "https://example.com/hook")
    marks = list((settings.jobs_dir / "owners").iterdir())
    store.ends.close()
    store.close()

    assert 1 == len(marks)
    assert [] == list((settings.jobs_dir / "owners").iterdir())
    assert ["a"] == store.ends.left()
