from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from diffusers import WanPipeline
from transformers import AutoTokenizer, UMT5EncoderModel

from train_mini import text_encoder
from train_mini.captions import caption, forget
from train_mini.scene import Scene, draw_scene, is_held_out
from train_mini.text_encoder import MAX_TOKENS, WIDTH, Plan
from train_mini.words import VOCABULARY, tokens_of

CAPTIONS = ["A red ball, cinematic!", "", "two balls next to each other over the sea"]
SMALL = Plan(steps=3, captions=4, checked=100, seed=7)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return text_encoder.build_tokenizer()


def test_the_tokenizer_reads_as_the_captions_are_counted(tokenizer: Any) -> None:
    rng = numpy.random.default_rng(2)
    texts = [caption(draw_scene(rng), rng) for _ in range(300)]

    assert [len(tokens_of(text)) + 1 for text in texts] == text_encoder.token_counts(tokenizer, texts)
    assert ["a", "red", "<unk>", ",", "!", "!", "</s>"] == tokenizer.convert_ids_to_tokens(
        tokenizer("A \uff32\uff25\uff24 red_ball,!!").input_ids
    )


def test_every_word_of_the_vocabulary_is_one_known_token(tokenizer: Any) -> None:
    ids = tokenizer(list(VOCABULARY)).input_ids

    assert len(VOCABULARY) == len({each[0] for each in ids})
    assert all(len(each) == 2 and each[0] != tokenizer.unk_token_id for each in ids)


def test_no_caption_is_too_long(tokenizer: Any) -> None:
    rng = numpy.random.default_rng(3)
    counts = text_encoder.token_counts(tokenizer, [caption(forget(draw_scene(rng), rng), rng) for _ in range(3000)])

    assert 25 < max(counts) <= MAX_TOKENS


def test_captions_are_padded_as_diffusers_pads_them(tokenizer: Any) -> None:
    encoder = text_encoder.build_encoder().eval()
    pipeline = WanPipeline(tokenizer, encoder, None, None, None)
    with torch.no_grad():
        theirs, _ = pipeline.encode_prompt(CAPTIONS, do_classifier_free_guidance=False, max_sequence_length=24)
    ours = text_encoder.encode(tokenizer, encoder, CAPTIONS, 24)

    assert (3, 24, WIDTH) == ours.shape
    assert torch.equal(theirs == 0, ours == 0)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert ours[1, 0].abs().max() > 0 == ours[1, 1:].abs().max()


def test_what_is_said_in_training_is_never_held_out() -> None:
    rng = numpy.random.default_rng(4)
    whole = [each for each in (text_encoder.draw_said(rng) for _ in range(800)) if _is_whole(each)]

    assert len(whole) > 200
    assert not any(is_held_out(each) for each in whole if not _is_twins(each))


def _is_twins(scene: Scene) -> bool:
    """Two things of one look are neither trained on as clips nor held out."""
    return len(scene.things) > 1 and scene.things[0].color == scene.things[1].color


def _is_whole(scene: Scene) -> bool:
    parts = [part for thing in scene.things for part in (thing.color, thing.shape)]
    return None not in [*parts, scene.motion, scene.background, scene.relation or len(scene.things) == 1 or None]


@pytest.mark.slow
def test_a_few_steps_learn_the_number_of_things(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    text_encoder.train(tmp_path, Plan(steps=60, captions=32, checked=200))
    losses = [float(line.rpartition(" ")[2]) for line in caplog.messages if ": loss" in line]
    number = next(line for line in caplog.messages if "never trained on" in line).split("number ")[1]

    assert losses[-1] < 0.85 * losses[0]
    assert float(number.split(" ")[0]) > 65


def test_the_saved_encoder_loads_and_has_unit_spread(tmp_path: Path) -> None:
    text_encoder.train(tmp_path, SMALL)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    encoder = UMT5EncoderModel.from_pretrained(tmp_path / "text_encoder")

    assert text_encoder.build_tokenizer().get_vocab() == tokenizer.get_vocab()
    assert 1.0 == pytest.approx(text_encoder.spread(tokenizer, encoder), abs=0.01)
    assert sum(each.numel() for each in encoder.parameters()) < 300_000


@pytest.mark.slow
def test_a_run_that_was_ended_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    text_encoder.train(whole, SMALL)
    torch.manual_seed(SMALL.seed)
    run = text_encoder._Run(SMALL, text_encoder.Ranks())
    for step in range(2):
        run.step(step)
    text_encoder.checkpoint.save(parts / "text_encoder.pt", run.state(2))
    text_encoder.train(parts, SMALL)
    name = "text_encoder/model.safetensors"

    assert (whole / name).read_bytes() == (parts / name).read_bytes()
