"""The table of placements: which machine renders what, with which parts where."""

from __future__ import annotations

import itertools

import pytest

from wanworker.engines.resident.placement.choice import Format, Machine, Plan, Weights, figures_of, plan_for
from wanworker.engines.resident.placement.peaks import Shape, usual_shape
from wanworker.engines.resident.protocol import Placement
from wanworker.models.machine.hardware import Gpu
from wanworker.spec import Profile

GIB = 2**30
#: Bytes once loaded, of the released files (reference/real-weights.md, section 1).
SIZES: dict[tuple[str, Format], dict[str, float]] = {
    ("A14B", "bfloat16"): {"transformer": 26.61, "transformer_2": 26.61, "text_encoder": 10.58, "vae": 0.47},
    ("A14B", "float8"): {"transformer": 13.4, "transformer_2": 13.4, "text_encoder": 6.27, "vae": 0.47},
    ("5B", "bfloat16"): {"transformer": 9.31, "text_encoder": 10.58, "vae": 2.63},
}
#: What nvidia-smi says of such cards: 16, 24, 32, 40, 48, 80, 96 and 141 GB.
CARDS_MIB = {16: 16_376, 24: 24_564, 32: 32_607, 40: 40_960, 48: 49_140, 80: 81_559, 96: 97_887, 141: 143_771}
HD, SD, SMALL = Shape("i2v-A14B", 1280, 720, 81, True), Shape("i2v-A14B", 832, 480, 81, True), usual_shape("ti2v-5B")

#: experts, text encoder, VAE on each card: R stays, S takes turns in the slot, E leaves, C computes on the CPU, - too
#: small. One row a model, format, shape and profile; one column a card.
TABLE = """
A14B bfloat16 hd exact | -   -   -   EER SER RER RRR RRR
A14B bfloat16 hd fast  | -   -   -   SER SER RRR RRR RRR
A14B bfloat16 sd exact | -   -   -   SER SRR RRR RRR RRR
A14B float8   hd exact | -   -   ERR SRR RER RRR RRR RRR
A14B float8   hd fast  | -   -   SRR RER RRR RRR RRR RRR
A14B float8   sd exact | -   SER SRR RER RRR RRR RRR RRR
5B   bfloat16 hd exact | -   EER RER ERR RRR RRR RRR RRR
5B   bfloat16 hd fast  | -   RER RRR RRR RRR RRR RRR RRR
"""
ROWS = [(line.split("|")[0].split(), line.split("|")[1].split()) for line in TABLE.strip().splitlines()]


def weights(model: str, made: Format) -> Weights:
    return Weights({name: int(gib * GIB) for name, gib in SIZES[model, made].items()}, made)


def machine(card: int, host_gib: int | None = 128, capability: str = "9.0") -> Machine:
    host = None if host_gib is None else host_gib * GIB
    return Machine((Gpu("a card", CARDS_MIB[card], capability, "580"),), None, host)


def letters(plan: Plan) -> str:
    made = plan.placement
    return "-" if plan.lacking else "".join(word[0].upper() for word in (made.experts, made.text_encoder, made.vae))


def shape_of(model: str, size: str) -> Shape:
    return SMALL if model == "5B" else {"hd": HD, "sd": SD}[size]


@pytest.mark.parametrize(("row", "expected"), ROWS, ids=[" ".join(row) for row, _ in ROWS])
def test_each_card_has_its_placement(row: list[str], expected: list[str]) -> None:
    model, made, size, profile = row
    plans = [
        plan_for(weights(model, made), shape_of(model, size), machine(card), profile)  # type: ignore[arg-type]
        for card in CARDS_MIB
    ]

    assert expected == [letters(plan) for plan in plans]
    for plan, card in zip(plans, CARDS_MIB, strict=True):
        assert plan.lacking or plan.figures.peak_bytes <= CARDS_MIB[card] * 2**20


@pytest.mark.parametrize(
    ("model", "made", "card", "host_gib", "enough"),
    [
        ("A14B", "bfloat16", 48, 32, False), ("A14B", "bfloat16", 48, 64, False), ("A14B", "bfloat16", 48, 128, True),
        ("A14B", "bfloat16", 80, 32, True), ("A14B", "float8", 32, 32, True), ("A14B", "float8", 32, 64, True),
        ("5B", "bfloat16", 24, 32, True), ("A14B", "bfloat16", 48, None, True), ("A14B", "bfloat16", 141, 32, True),
    ],
)  # fmt: skip
def test_what_waits_in_main_memory_has_to_fit_there(
    model: str, made: Format, card: int, host_gib: int | None, enough: bool
) -> None:
    plan = plan_for(weights(model, made), shape_of(model, "hd"), machine(card, host_gib), "exact")

    assert enough is not bool(plan.lacking)


def test_what_is_lacking_is_said_in_words() -> None:
    (card,) = plan_for(weights("A14B", "bfloat16"), HD, machine(32), "exact").lacking
    (host,) = plan_for(weights("A14B", "bfloat16"), HD, machine(48, 30), "exact").lacking

    assert "a card has 32 GiB; about 38 GiB are needed for 1280*720 with 81 frames" == card
    assert "30 GiB of memory are free; the weights that wait there take 66 GiB" == host
    assert ("no NVIDIA GPU",) == plan_for(weights("5B", "bfloat16"), SMALL, Machine(()), "exact").lacking


def test_only_what_is_free_of_the_card_counts() -> None:
    gpus = machine(24).gpus
    (line,) = plan_for(weights("5B", "bfloat16"), SMALL, Machine(gpus, 9 * GIB), "exact").lacking

    assert line.startswith("a card has 24 GiB, 9 GiB of them free; about 22 GiB are needed")


def test_the_callers_wish_about_offloading_comes_first() -> None:
    away = plan_for(weights("5B", "bfloat16"), SMALL, machine(141), "exact", offload=True)
    stay = plan_for(weights("A14B", "bfloat16"), HD, machine(24), "exact", offload=False)

    assert "EEE" == letters(away)
    assert ("resident", "resident", "resident") == (
        stay.placement.experts, stay.placement.text_encoder, stay.placement.vae,
    )  # fmt: skip
    assert stay.lacking


@pytest.mark.parametrize("card", sorted(CARDS_MIB))
@pytest.mark.parametrize(("model", "made"), SIZES)
def test_exact_moves_and_evicts_and_trades_nothing(model: str, made: Format, card: int) -> None:
    placed = plan_for(weights(model, made), shape_of(model, "hd"), machine(card), "exact").placement

    assert ("float32", "streamed", "plain", "native") == (
        placed.vae_dtype, placed.decode, placed.matmul, placed.attention,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("profile", "made", "capability", "expected"),
    [
        ("fast", "float8", "8.9", "scaled_mm"), ("fast", "float8", "12.0", "scaled_mm"),
        ("fast", "float8", "8.6", "plain"), ("fast", "bfloat16", "9.0", "plain"), ("exact", "float8", "9.0", "plain"),
        ("fast", "float8", "unknown", "plain"),
    ],
)  # fmt: skip
def test_float8_is_multiplied_as_such_where_fast_may_and_the_card_can(
    profile: Profile, made: Format, capability: str, expected: str
) -> None:
    plan = plan_for(weights("A14B", made), HD, machine(96, capability=capability), profile)

    assert expected == plan.placement.matmul


def test_tiles_are_the_last_thing_that_fast_trades() -> None:
    long = Shape("ti2v-5B", 2048, 2048, 17)
    plan = plan_for(weights("5B", "bfloat16"), long, machine(40), "fast")

    assert ("tiled", ()) == (plan.placement.decode, plan.lacking)
    assert "streamed" == plan_for(weights("5B", "bfloat16"), long, machine(96), "fast").placement.decode


@pytest.mark.parametrize("profile", ["exact", "fast"])
def test_each_smaller_plan_takes_less_until_none_does(profile: Profile) -> None:
    peaks = []
    below = None
    for _ in itertools.count():
        plan = plan_for(weights("A14B", "float8"), HD, machine(96), profile, below_bytes=below)
        below = plan.figures.peak_bytes
        if peaks and below >= peaks[-1]:
            break
        peaks.append(below)

    assert len(peaks) > 3
    assert peaks[0] > 40 * GIB
    assert peaks[-1] < 25 * GIB


def test_figures_add_up_what_is_on_the_card_in_each_stage() -> None:
    sizes = weights("5B", "bfloat16")
    everything = figures_of(Placement("cuda"), sizes, SMALL)
    apart = figures_of(Placement("cuda", "exact", "evicted", "evicted", "evicted"), sizes, SMALL)

    assert {"text", "sampling", "decoding"} == set(everything.stages_bytes)
    assert everything.stages_bytes["decoding"] - apart.stages_bytes["decoding"] == int(9.31 * GIB) + int(10.58 * GIB)
    assert everything.stages_bytes["sampling"] - apart.stages_bytes["sampling"] == int(10.58 * GIB) + int(2.63 * GIB)
    assert 0 == everything.moved_bytes
    assert sum(sizes.sizes_bytes.values()) == apart.moved_bytes == apart.host_bytes - 3 * GIB


def test_an_answer_has_the_words_and_the_figures() -> None:
    shown = plan_for(weights("A14B", "float8"), HD, machine(32), "exact").to_json()

    assert {
        "device": "cuda",
        "profile": "exact",
        "experts": "evicted",
        "text_encoder": "resident",
    }.items() <= shown.items()
    assert {"text", "picture", "sampling", "decoding"} == set(shown["gpu_gib"])
    assert 29.8 == shown["host_gib"]
