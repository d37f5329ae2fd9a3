from __future__ import annotations

import math

import pytest

from wanworker.errors import InvalidRequest
from wanworker.ranges import RANGES
from wanworker.spec import (
    RANDOM_SEED_LIMIT,
    TASKS,
    Lora,
    Size,
    Task,
    longest_aspect,
    nearest_frames,
    size_at_aspect,
    task_named,
)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(1, 1), (2, 1), (3, 5), (4, 5), (5, 5), (15, 17), (16, 17), (17, 17), (18, 17), (19, 21), (81, 81), (1201, 1201)],
)
def test_frames_go_to_the_nearest_4n_plus_1_ties_up(asked: int, expected: int) -> None:
    assert expected == nearest_frames(asked)


def test_every_possible_number_of_frames_stays_within_two_and_in_range() -> None:
    limits = RANGES["frames"]
    snapped = {asked: nearest_frames(asked) for asked in range(int(limits.low), int(limits.high) + 1)}

    assert all(abs(frames - asked) <= 2 and frames % 4 == 1 for asked, frames in snapped.items())
    assert all(limits.low <= frames <= limits.high for frames in snapped.values())


@pytest.mark.parametrize("text", ["1280*720", "1280x720", "1280X720", "1280\u00d7720", " 1280 * 720 "])
def test_a_size_is_read_in_every_documented_spelling(text: str) -> None:
    assert Size(1280, 720) == Size.parse(text)


@pytest.mark.parametrize("text", ["", "1280", "1280*", "1280-720", "1280*720*3", "-1280*720", "12.5*7", "1280*720px"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"size must look like '1280\*720'") as caught:
        Size.parse(text)

    assert "size" == caught.value.field


@pytest.mark.parametrize(
    ("text", "field"), [("63*720", "width"), ("2049*720", "width"), ("1280*63", "height"), ("1280*99999", "height")]
)
def test_a_side_out_of_range_is_refused_by_name_with_the_range(text: str, field: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{field} must be between 64 and 2048 pixels; got") as caught:
        Size.parse(text)

    assert field == caught.value.field


@pytest.mark.parametrize("text", ["64*64", "2048*2048"])
def test_both_ends_of_the_range_are_possible(text: str) -> None:
    assert text == str(Size.parse(text))


def test_a_long_text_is_cut_in_the_message() -> None:
    with pytest.raises(InvalidRequest, match=f"got '{'9' * 40}'\\.$"):
        Size.parse("9" * 5000)


@pytest.mark.parametrize(
    ("size", "multiple", "expected"),
    [
        (Size(1280, 720), 32, Size(1280, 704)),
        (Size(1280, 720), 16, Size(1280, 720)),
        (Size(1, 900), 16, Size(16, 896)),
    ],
)
def test_snapping_goes_to_the_nearest_multiple_and_never_to_zero(size: Size, multiple: int, expected: Size) -> None:
    assert expected == size.snapped(multiple)


@pytest.mark.parametrize("aspect", [0.3, 9 / 16, 1.0, 4 / 3, 16 / 9, 3.0])
@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_a_derived_size_keeps_aspect_and_area(aspect: float, task: object) -> None:
    area, multiple = task.size.area, task.size_multiple  # type: ignore[attr-defined]

    size = size_at_aspect(aspect, area, multiple)

    assert (0, 0) == (size.width % multiple, size.height % multiple)
    assert abs(size.aspect / aspect - 1) < 0.06
    assert abs(size.area / area - 1) < 0.06


def test_a_derived_size_has_the_asked_shape_not_its_inverse() -> None:
    assert Size(1280, 720) == size_at_aspect(16 / 9, 1280 * 720, 16)
    assert Size(720, 1280) == size_at_aspect(9 / 16, 1280 * 720, 16)


@pytest.mark.parametrize("aspect", [4.6, 6.0, 10.0, 20.0, 31.0, 32.0])
@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_a_derived_size_keeps_its_sides_in_range_and_its_shape(aspect: float, task: Task) -> None:
    wide, tall = (size_at_aspect(shape, task.size.area, task.size_multiple) for shape in (aspect, 1 / aspect))

    assert (wide.width, wide.height) == (tall.height, tall.width)
    assert wide == wide.checked()
    assert (0, 0) == (wide.width % task.size_multiple, wide.height % task.size_multiple)
    assert abs(wide.aspect / aspect - 1) < 0.05
    longest = min(RANGES["side_px"].high, math.sqrt(task.size.area * aspect))
    assert wide.width > 0.9 * longest, "as large as the range and the area allow"


@pytest.mark.parametrize(
    ("aspect", "area", "expected"),
    [
        (1.0, 64 * 64, Size(64, 64)),
        (2041 / 999, 2041 * 999, Size(2048, 992)),
        # Too large: the shape decides, so that 2048*1360 wins over 2048*1376, and 2048*208 over 1888*192.
        (1.5, 2048 * 2048, Size(2048, 1360)),
        (1 / 1.5, 2048 * 2048, Size(1360, 2048)),
        (9.85, 2048 * 2048, Size(2048, 208)),
        (1 / 9.85, 2048 * 2048, Size(208, 2048)),
        (1.0, 32 * 32, Size(2048, 2048)),
    ],
)
def test_a_derived_size_at_the_ends_of_the_range(aspect: float, area: int, expected: Size) -> None:
    assert expected == size_at_aspect(aspect, area, 16)


def test_a_picture_may_be_as_long_as_both_sides_can_be_in_range() -> None:
    assert 2048 / 64 == longest_aspect()


def test_the_tasks_are_named_exactly() -> None:
    upstream = ["t2v-A14B", "i2v-A14B", "ti2v-5B", "s2v-14B", "animate-14B"]
    assert [*upstream, "vace-A14B", "v2v-A14B", "animate2-14B"] == list(TASKS)


@pytest.mark.parametrize("name", ["t2v", "T2V-A14B", "t2v-A14B ", "", "x" * 1000])
def test_any_other_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(InvalidRequest, match="known: t2v-A14B, i2v-A14B, ti2v-5B, s2v-14B, animate-14B") as caught:
        task_named(name)

    assert "task" == caught.value.field
    assert f"Unknown task {name[:60]!r};" in str(caught.value)


def test_a_name_without_its_size_is_told_the_whole_name() -> None:
    for short, name in (("t2v", "t2v-A14B"), ("S2V ", "s2v-14B"), ("animate", "animate-14B"), ("ti2v", "ti2v-5B")):
        with pytest.raises(InvalidRequest) as caught:
            task_named(short)
        assert f"Did you mean {name!r}? Upper and lower case count." == caught.value.hint


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_a_tasks_own_defaults_are_possible(task: object) -> None:
    name, size, multiple = task.name, task.size, task.size_multiple  # type: ignore[attr-defined]
    frames, low, steps = task.frames, task.guidance, task.steps  # type: ignore[attr-defined]

    assert task_named(name) is task
    assert size == size.checked().snapped(multiple)
    assert frames is None or frames == nearest_frames(frames)
    assert all(RANGES["guidance"].low <= scale <= RANGES["guidance"].high for scale in low)
    assert RANGES["steps"].low <= steps <= RANGES["steps"].high


def test_a_task_that_needs_a_picture_takes_one() -> None:
    assert all(task.takes_image for task in TASKS.values() if task.needs_image)


def test_the_short_name_is_what_the_documented_sentence_says() -> None:
    assert ["t2v", "i2v", "ti2v", "s2v", "animate", "vace", "v2v", "animate2"] == [
        task.short_name for task in TASKS.values()
    ]


#: Of every task: folder, default size, fps, frames, steps, shift, guidance (low, high noise), boundary of the experts
#: and the multiple that sides must be of. From wan/configs of Wan2.2 at 42bf4cf, and its generate.py.
UPSTREAM = {
    "t2v-A14B": ("Wan2.2-T2V-A14B", "1280*720", 16, 81, 40, 12.0, (3.0, 4.0), 0.875, 16),
    "i2v-A14B": ("Wan2.2-I2V-A14B", "1280*720", 16, 81, 40, 5.0, (3.5, 3.5), 0.9, 16),
    "ti2v-5B": ("Wan2.2-TI2V-5B", "1280*704", 24, 121, 50, 5.0, (5.0, 5.0), None, 32),
    "s2v-14B": ("Wan2.2-S2V-14B", "1280*720", 16, None, 40, 3.0, (4.5, 4.5), None, 16),
    "animate-14B": ("Wan2.2-Animate-14B", "1280*720", 30, None, 20, 5.0, (1.0, 1.0), None, 16),
    # From diffusers' pipeline wan_animate_2 (0.40), with the shift of ComfyUI's template.
    "animate2-14B": ("Wan2.2-Animate-2-14B", "640*800", 24, None, 40, 5.0, (3.0, 3.0), None, 16),
}

#: What a task needs, and takes, beside the prompt.
INPUTS = {
    "t2v-A14B": set(),
    "i2v-A14B": {"needs_image", "takes_image", "takes_last_image"},
    "ti2v-5B": {"takes_image"},
    "s2v-14B": {"needs_image", "takes_image", "needs_audio"},
    "animate-14B": {"needs_image", "takes_image", "needs_driving_video", "takes_prepared"},
    "vace-A14B": {"takes_image", "needs_driving_video"},
    "v2v-A14B": {"needs_driving_video"},
    "animate2-14B": {"needs_image", "takes_image", "needs_driving_video"},
}


@pytest.mark.parametrize("name", UPSTREAM)
def test_the_defaults_are_upstreams_own(name: str) -> None:
    task = TASKS[name]

    assert UPSTREAM[name] == (
        task.folder, str(task.size), task.fps, task.frames, task.steps, task.shift, task.guidance, task.boundary,
        task.size_multiple,
    )  # fmt: skip


@pytest.mark.parametrize("name", INPUTS)
def test_a_task_asks_for_the_inputs_that_upstream_needs(name: str) -> None:
    task = TASKS[name]
    kinds = (
        "needs_image", "takes_image", "takes_last_image", "needs_audio", "needs_driving_video", "takes_prepared",
    )  # fmt: skip

    assert INPUTS[name] == {kind for kind in kinds if getattr(task, kind)}


def test_the_ranges_are_the_documented_ones() -> None:
    documented = {
        "prompt_chars": (0, 10_000),
        "steps": (1, 200),
        "guidance": (0, 50),
        "side_px": (64, 2048),
        "frames": (1, 1201),
        "fps": (1, 120),
        "seed": (-1, 18_446_744_073_709_551_615),
        "timeout_s": (1, 86_400),
        "shift": (0.01, 100),
        "strength": (-10, 10),
        "seconds": (0.01, 1201),
        "num_outputs": (1, 8),
        "crf": (0, 51),
        "denoise": (0.01, 1),
        "price_per_hour": (0, 10_000),
    }

    assert documented == {name: (each.low, each.high) for name, each in RANGES.items()}


def test_a_random_seed_is_a_whole_number_for_javascript() -> None:
    assert 9_007_199_254_740_991 == RANDOM_SEED_LIMIT - 1


def test_a_lora_without_strengths_is_applied_fully() -> None:
    lora = Lora("high.safetensors", "low.safetensors")

    assert (1.0, 1.0) == (lora.high_strength, lora.low_strength)


@pytest.mark.parametrize(
    ("asked", "near"), [("I2V-a14b", "i2v-A14B"), ("t2v-14B", "t2v-A14B"), ("animate14b", "animate-14B")]
)
def test_a_task_that_is_nearly_right_is_named(asked: str, near: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        task_named(asked)

    assert f"Did you mean {near!r}? Upper and lower case count." == caught.value.hint
