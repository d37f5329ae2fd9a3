"""What the miniature's videos show, read from the files by checkers that know nothing of the model.

The prompts are of combinations that were never in training. The figures of 200 are in docs/mini.md; here are few, and
the bars are low, so that another processor's rounding changes nothing.
"""

from __future__ import annotations

import collections
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

import pages
from train_mini.checkers import read_clip
from train_mini.checkers_validation import compared
from train_mini.evaluation_cases import Judged, Plan, case_of
from train_mini.scene import Scene, Thing
from train_mini.words import PLACE_WORDS

#: Slow, because its own child must load torch; tests/engines/test_mini.py looks at the pixels in every run.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

Judge = Callable[..., Awaitable[Judged]]

Render = Callable[..., Awaitable[Any]]

PLAN = Plan()

#: What docs/mini.md offers to try, and what it means; of two things the upper or the left one comes first.
PROMPTS = {
    "a red star moves to the right over a green field": Scene((Thing("red", "star"),), "right", "field"),
    "a big blue ball bounces on a wooden floor": Scene((Thing("blue", "ball", "big"),), "bounce", "room"),
    "a yellow heart above a purple square, both slide to the left in the snow": Scene(
        (Thing("yellow", "heart"), Thing("purple", "square")), "left", "snow", "above"
    ),
    "a blue square under a yellow star at night": Scene(
        (Thing("yellow", "star"), Thing("blue", "square")), None, "night", "above"
    ),
}


def right(found: Iterable[Judged]) -> dict[str, int]:
    """Count by attribute how often it was right."""
    counts: collections.Counter[str] = collections.Counter()
    for each in found:
        counts.update({name: int(is_right) for name, is_right in each.right.items()})
    return dict(counts)


async def test_one_thing_is_what_the_words_say(judge: Judge) -> None:
    counts = right([await judge(case_of(PLAN, "single", index)) for index in range(4)])

    assert min(counts["single color"], counts["single background"], counts["single motion"]) >= 3
    assert counts["single shape"] >= 2


async def test_two_things_are_what_the_words_say(judge: Judge) -> None:
    counts = right([await judge(case_of(PLAN, "pair", index)) for index in range(4)])

    assert min(counts["pair colors"], counts["pair relation"], counts["pair background"]) >= 3
    assert counts["pair shapes"] >= 2


@pytest.mark.parametrize(("task", "least_db"), [("ti2v-5B", 26.0), ("i2v-A14B", 17.0)])
async def test_a_picture_goes_on_as_the_words_say(judge: Judge, task: str, least_db: float) -> None:
    found = [await judge(case_of(PLAN, "picture", index), task=task) for index in range(2)]
    counts = right(found)

    assert min(each.first_frame_db or 0 for each in found) > least_db
    assert counts["picture last looks"] >= 1
    assert counts["picture motion"] >= 1


async def test_the_pages_prompts_are_obeyed(render: Render) -> None:
    wrong = {}
    for prompt, scene in PROMPTS.items():
        found = compared(scene, read_clip(await render(prompt=prompt), len(scene.things)))
        wrong[prompt] = [name for name, is_right in found.items() if not is_right]

    assert list(PROMPTS) == pages.blocks(pages.read("docs/mini.md"), "text")[0].splitlines()
    assert sum(map(len, wrong.values())) <= 2, wrong


async def test_what_the_negative_prompt_names_is_avoided(render: Render) -> None:
    avoided = 0
    for seed in range(2):
        plain = read_clip(await render(prompt="a red ball", seed=seed), 1).background
        negative = PLACE_WORDS[str(plain)][0]
        other = read_clip(await render(prompt="a red ball", negative_prompt=negative, seed=seed), 1).background
        avoided += other != plain

    assert avoided >= 1


async def test_guidance_is_felt_above_one_only(render: Render) -> None:
    prompt = "a green heart to the left of a white star in the desert"
    none, one, four = [(await render(prompt=prompt, guidance=scale)).astype(float) for scale in (0.0, 1.0, 4.0)]

    assert (none == one).all()
    assert abs(four - one).mean() > 1


async def test_four_steps_with_the_pair_come_nearer_to_twenty_than_without(render: Render) -> None:
    prompt = "a yellow heart above a purple square, both slide to the left in the snow"
    off_with, off_alone = 0.0, 0.0
    for seed in range(2):
        twenty = (await render(prompt=prompt, seed=seed)).astype(float)
        with_pair = await render(prompt=prompt, seed=seed, use_lora=True)
        alone = await render(prompt=prompt, seed=seed, steps=4, guidance=1.0, shift=5.0)
        off_with += ((with_pair - twenty) ** 2).mean()
        off_alone += ((alone - twenty) ** 2).mean()

    assert off_with < 0.9 * off_alone
