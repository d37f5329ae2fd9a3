"""What the miniature's description says, and which words it knows."""

from __future__ import annotations

import pytest

from wanworker.engines._capabilities import MINI
from wanworker.models.miniature.weights import Miniature, miniature, unknown_words
from wanworker.spec import Size


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("A RED star, moves to the right!", []),
        ("a cinematic dragon, a dragon over Saturn\u2019s sea", ["cinematic", "dragon", "saturn", "s"]),
        ("", []),
    ],
)
def test_words_that_it_never_saw_are_found(prompt: str, expected: list[str]) -> None:
    assert expected == unknown_words(prompt)


def test_the_nearest_aspect_is_chosen_of_those_that_it_can() -> None:
    sizes = (Size(64, 64), Size(112, 64), Size(64, 112), Size(96, 96))
    own = Miniature("m", sizes, frames=17, steps=15, guidance=4, shift=3, max_text_tokens=64, folders={})

    asked = (Size(1280, 720), Size(480, 832), Size(512, 512))
    assert [Size(112, 64), Size(64, 112), Size(96, 96)] == [own.nearest_size(size) for size in asked]


@pytest.mark.parametrize("task", sorted(MINI.tasks))
def test_every_task_has_a_whole_folder(task: str) -> None:
    folder = miniature().folder_of(task)

    assert (folder / "model_index.json").is_file()
    assert {"vae", "text_encoder", "tokenizer", "transformer"} <= {path.name for path in folder.iterdir()}
