"""Contact sheets, and the measuring of what they show: with drawn clips in the model's place."""

import dataclasses
import io
import json
from typing import Any

import numpy
import pytest
from PIL import Image

from train_mini.evaluation import measure
from train_mini.evaluation_cases import KINDS, Case, Judged, Plan, cases_of
from train_mini.renderer import draw_clip
from train_mini.scene import Scene, is_held_out
from train_mini.sheets import contact_sheet, mistakes, sheet_of

Pixels = numpy.ndarray[Any, numpy.dtype[numpy.uint8]]

PLAN = Plan(singles=4, pairs=3, pictures=2, side=96)
FRAME_PX, GAP_PX = 72, 10
RED = (200, 0, 0)
INK = (30, 30, 30)


def obeying(case: Case) -> Pixels:
    """Return the clip that the case asks for; a picture's own first frame in front."""
    pixels = draw_clip(case.scene, numpy.random.default_rng(case.seed), side=96).pixels
    if case.image is not None:
        pixels[0] = case.image
    return pixels


def backwards(case: Case) -> Pixels:
    return obeying(case)[::-1]


def shades_in(sheet: Image.Image) -> set[tuple[int, ...]]:
    return {color for _, color in sheet.convert("RGB").getcolors(sheet.width * sheet.height) or []}


def flat(color: tuple[int, int, int]) -> Pixels:
    return numpy.full((9, 48, 48, 3), color, numpy.uint8)


def test_a_sheet_has_rows_of_columns_and_five_frames_a_clip() -> None:
    one = contact_sheet([flat((0, 90, 200))], ["a"], [""])
    seven = contact_sheet([flat((0, 90, 200))] * 7, ["a"] * 7, [""] * 7, columns=3)

    assert 5 * FRAME_PX + 2 * GAP_PX == one.width
    assert 3 * (one.width - GAP_PX) + GAP_PX == seven.width
    assert 3 * (one.height - GAP_PX) + GAP_PX == seven.height


def test_a_sheet_shows_the_first_and_the_last_frame() -> None:
    clip = flat((128, 128, 128))
    clip[0], clip[-1] = (250, 0, 0), (0, 0, 250)
    sheet = contact_sheet([clip], [""], [""]).convert("RGB")

    assert (250, 0, 0) == sheet.getpixel((30, 30))
    assert (0, 0, 250) == sheet.getpixel((sheet.width - 30, 30))
    assert (128, 128, 128) == sheet.getpixel((sheet.width // 2, 30))


def test_only_what_was_read_wrong_is_red() -> None:
    clips = [flat((0, 90, 200))]

    assert {INK} == shades_in(contact_sheet(clips, ["a red ball"], [""])) & {INK, RED}
    assert {INK, RED} == shades_in(contact_sheet(clips, ["a red ball"], ["color blue"])) & {INK, RED}


def test_a_long_caption_stays_within_its_clip() -> None:
    width = contact_sheet([flat((0, 0, 0))], ["a"], [""]).width
    sheet = contact_sheet([flat((0, 0, 0))], ["word " * 100 + "x" * 300], ["wrong " * 100]).convert("RGB")
    letters = numpy.asarray(sheet)[GAP_PX + FRAME_PX + 1 :]

    assert width == sheet.width
    assert (letters[:, -GAP_PX:] == 255).all()
    assert (letters[-GAP_PX:] == 255).all()


def test_a_word_wider_than_a_clip_is_cut() -> None:
    sheet = contact_sheet([flat((0, 0, 0))], ["x" * 300], [""]).convert("RGB")

    assert (numpy.asarray(sheet)[GAP_PX + FRAME_PX + 1 :, -GAP_PX:] == 255).all()


@pytest.mark.parametrize(("captions", "wrong"), [(["a"], []), (["a", "b"], [""])])
def test_a_sheet_wants_a_caption_and_a_verdict_a_clip(captions: list[str], wrong: list[str]) -> None:
    with pytest.raises(ValueError, match="one caption and one verdict a clip"):
        contact_sheet([flat((0, 0, 0))], captions, wrong)


def test_an_empty_sheet_is_refused() -> None:
    with pytest.raises(ValueError, match="not 0, 0 and 0"):
        contact_sheet([], [], [])


@pytest.mark.slow
def test_a_sheet_of_forty_clips_stays_under_400_kb_though_they_are_noisy() -> None:
    rng = numpy.random.default_rng(0)
    clips = [numpy.clip(obeying(case) + rng.normal(0, 3, (17, 96, 96, 3)), 0, 255) for case in cases_of(PLAN)]
    clips = [clips[index % len(clips)][:: -1 if index % 2 else 1].astype(numpy.uint8) for index in range(40)]
    file = io.BytesIO()
    contact_sheet(clips, ["a red ball over a green field"] * 40, ["color blue"] * 40).save(file, "png", optimize=True)

    assert len(file.getvalue()) < 400_000


def test_clips_that_obey_are_all_right() -> None:
    taken: list[Judged] = []
    report = measure(PLAN, KINDS, obeying, taken.append)

    assert {1.0} == set(report.rates.values())
    assert {"single shape": 4, "pair relation": 3, "picture last looks": 2} == {
        name: report.counts[name] for name in ("single shape", "pair relation", "picture last looks")
    }
    assert (9, [], 99.0) == (report.clips, report.failures, report.first_frame_worst_db)
    assert {""} == {mistakes(each) for each in taken}


def test_clips_of_other_scenes_fail_and_are_told_with_their_prompts() -> None:
    other = next(cases_of(dataclasses.replace(PLAN, seed=1))).scene

    def disobeying(case: Case) -> Pixels:
        things = tuple(other.things[0] for _ in case.scene.things)
        scene = Scene(things, "still", other.background, case.scene.relation)
        return draw_clip(scene, numpy.random.default_rng(0), side=96).pixels

    taken: list[Judged] = []
    report = measure(PLAN, KINDS, disobeying, taken.append)
    told = json.loads(report.to_json())["failures"]

    assert 0.5 > report.rates["pair colors"]
    assert 30 > (report.first_frame_worst_db or 99)
    assert [each.case.prompt for each in taken if each.wrong] == [each["prompt"] for each in told]
    assert all(each["wrong"] and each["asked"] != each["seen"] for each in told)
    assert RED in shades_in(sheet_of(taken))


def test_a_clip_shown_backwards_is_wrong_in_its_first_frame_and_its_motion() -> None:
    plan = Plan(singles=0, pairs=0, pictures=8, side=96)
    taken: list[Judged] = []
    measure(plan, KINDS, backwards, taken.append)
    moved = next(each for each in taken if each.case.scene.motion in {"left", "right", "up", "down"})

    assert {"picture first frame", "picture motion"} <= set(moved.wrong)
    assert "dB" in mistakes(moved)


def test_a_shorter_run_judges_every_kind_and_is_the_beginning_of_a_longer_one() -> None:
    short = list(cases_of(dataclasses.replace(PLAN, stop_after=5)))
    long = list(cases_of(PLAN))

    assert ["single", "pair", "picture", "single", "pair"] == [case.kind for case in short]
    assert [(case.prompt, case.seed) for case in short] == [(case.prompt, case.seed) for case in long[:5]]
    assert ["single", "pair"] * 3 + ["single"] == [case.kind for case in cases_of(PLAN, ("single", "pair"))]


def test_every_case_asks_for_what_was_kept_from_training() -> None:
    assert all(is_held_out(case.scene) for case in cases_of(PLAN))


def test_a_report_counts_the_seconds_of_a_clip_and_names_no_path() -> None:
    ticks = iter(range(0, 1000, 3))
    plan = dataclasses.replace(PLAN, stop_after=2)
    report = measure(plan, KINDS, obeying, clock=lambda: float(next(ticks)))

    assert (2, 3.0) == (report.clips, report.seconds_a_clip)
    assert 2 == json.loads(report.to_json())["plan"]["stop_after"]


def test_a_plan_without_clips_is_refused() -> None:
    with pytest.raises(ValueError, match="asks for no clip of picture"):
        measure(Plan(pictures=0), ("picture",), obeying)
