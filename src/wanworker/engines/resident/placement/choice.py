"""Choose where the parts of a model are, by what each way takes of the card and of the host. Pure."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from wanworker.engines.resident.placement.peaks import (
    GIB,
    TEXT_BYTES,
    Shape,
    decode_bytes,
    encode_bytes,
    step_bytes,
)
from wanworker.engines.resident.protocol import Placement
from wanworker.models.machine.hardware import Gpu
from wanworker.spec import Profile

#: The CUDA context takes 0.5 GiB; cuDNN's workspaces and what fragments in torch's allocator get as much again twice.
_RESERVE_BYTES = 3 * GIB // 2

#: Python, torch's libraries, and the frames on their way to the file.
_HOST_RESERVE_BYTES = 3 * GIB

#: The text encoder on the CPU takes 10 s or so, in which a GPU's bus carries about this much.
_CPU_TEXT_COST_BYTES = 100 * GIB

#: Tiles show at their seams: they come after everything else.
_TILING_COST_BYTES = 1000 * GIB

#: torch._scaled_mm multiplies float8 from this compute capability on (Ada).
_FLOAT8_CAPABILITY = (8, 9)

Format = Literal["bfloat16", "float8"]


@dataclasses.dataclass(frozen=True, slots=True)
class Weights:
    """
    Components by diffusers' names with their bytes once loaded (the VAE in float32).

    `format` is what the experts' matrices can be multiplied in.
    """

    sizes_bytes: Mapping[str, int]
    format: Format = "bfloat16"

    @property
    def experts(self) -> tuple[int, ...]:
        """The bytes of each transformer."""
        return tuple(size for name, size in self.sizes_bytes.items() if name.startswith("transformer"))


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """
    The visible cards, the first of which renders, and what of its memory and the host's this engine may take.

    `card_bytes` and `host_bytes` are what is free with no weights of ours loaded: what a warm child holds is free.
    None: all of the card; unknown for the host.
    """

    gpus: Sequence[Gpu]
    card_bytes: int | None = None
    host_bytes: int | None = None

    @property
    def room_bytes(self) -> int:
        """The bytes that may be taken of the card; 0 without one."""
        if not self.gpus:
            return 0
        total = self.gpus[0].memory_mib * 2**20
        return total if self.card_bytes is None else min(total, self.card_bytes)


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """What a placement takes, in bytes: of the card by stage, of the host; and what it copies to the card in a job."""

    stages_bytes: Mapping[str, int]
    host_bytes: int
    moved_bytes: int

    @property
    def peak_bytes(self) -> int:
        """The most that any stage takes of the card, the reserve included."""
        return max(self.stages_bytes.values(), default=0) + _RESERVE_BYTES


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """A placement with its figures; `lacking` says in words what the machine lacks even for it."""

    placement: Placement
    figures: Figures
    lacking: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it for an answer: the placement's own words, and GiB."""
        if self.placement.device == "cpu":
            return self.placement.to_json()
        stages = {name: round(size / GIB, 1) for name, size in self.figures.stages_bytes.items()}
        sums = {"gpu_gib": stages, "host_gib": round(self.figures.host_bytes / GIB, 1)}
        return {**self.placement.to_json(), **sums}


def plan_for(
    weights: Weights,
    shape: Shape,
    machine: Machine,
    profile: Profile,
    *,
    offload: bool | None = None,
    below_bytes: int | None = None,
) -> Plan:
    """
    Return the plan that costs least time of those that fit; where none does, the one that takes least of the card.

    *offload* is the caller's wish: True has every part leave the card when it is idle, False none. Plans of
    *below_bytes* or more of the card are passed over: such a one has met the card's end already.
    """
    if not machine.gpus:
        return Plan(Placement(profile=profile, vae_dtype=_vae_dtype(profile)), Figures({}, 0, 0), ("no NVIDIA GPU",))
    plans = [
        Plan(placement, figures_of(placement, weights, shape))
        for placement in _candidates(weights, machine, profile, offload)
    ]
    left = [plan for plan in plans if below_bytes is None or plan.figures.peak_bytes < below_bytes] or plans
    fitting = [plan for plan in left if plan.figures.peak_bytes <= machine.room_bytes]
    on_host = [plan for plan in fitting if machine.host_bytes is None or plan.figures.host_bytes <= machine.host_bytes]
    if on_host:
        return min(on_host, key=_cost_bytes)
    if fitting:
        best = min(fitting, key=lambda plan: plan.figures.host_bytes)
    else:
        best = min(left, key=lambda plan: (plan.figures.peak_bytes, _cost_bytes(plan)))
    return dataclasses.replace(best, lacking=tuple(_lacking(best.figures, shape, machine)))


def figures_of(placement: Placement, weights: Weights, shape: Shape) -> Figures:
    """Return what *placement* takes for these weights and this shape."""
    sizes = weights.sizes_bytes
    experts, text = weights.experts, sizes.get("text_encoder", 0)
    vae = sizes.get("vae", 0) // (2 if placement.vae_dtype == "bfloat16" else 1)
    stay = {
        "text": text if placement.text_encoder == "resident" else 0,
        "experts": {"resident": sum(experts), "slot": max(experts, default=0), "evicted": 0}[placement.experts],
        "vae": vae if placement.vae == "resident" else 0,
    }
    at_step = sum(experts) if placement.experts == "resident" else max(experts, default=0)
    stages = {
        "text": stay["experts"] + stay["vae"] + (0 if placement.text_encoder == "cpu" else text + TEXT_BYTES),
        "picture": stay["text"] + stay["experts"] + vae + encode_bytes(shape, placement) if shape.with_image else 0,
        "sampling": stay["text"] + at_step + stay["vae"] + step_bytes(shape),
        "decoding": stay["text"] + stay["experts"] + vae + decode_bytes(shape, placement),
    }
    waiting = [
        0 if placement.text_encoder == "resident" else text,
        0 if placement.experts == "resident" else sum(experts),
        0 if placement.vae == "resident" else vae,
    ]
    moved = sum(waiting) - (text if placement.text_encoder == "cpu" else 0)
    return Figures({name: size for name, size in stages.items() if size}, sum(waiting) + _HOST_RESERVE_BYTES, moved)


def _candidates(weights: Weights, machine: Machine, profile: Profile, offload: bool | None) -> Iterator[Placement]:
    """Give every placement that *profile* and the caller allow: `exact` may move and evict, and no more."""
    has_two = len(weights.experts) > 1
    experts = _allowed(("resident", "slot", "evicted") if has_two else ("resident", "evicted"), offload)
    texts = _allowed(("resident", "evicted", "cpu"), offload)
    vaes = _allowed(("resident", "evicted"), offload)
    decodes = ("streamed", "tiled") if profile == "fast" else ("streamed",)
    matmul = "scaled_mm" if profile == "fast" and _multiplies_float8(weights, machine) else "plain"
    for expert, text, vae, decode in itertools.product(experts, texts, vaes, decodes):
        yield Placement(
            "cuda", profile, expert, text, vae, _vae_dtype(profile), decode, matmul=matmul,  # type: ignore[arg-type]
        )  # fmt: skip


def _allowed(words: Sequence[str], offload: bool | None) -> list[str]:
    """Return the *words* that the caller's wish leaves: with *offload* nothing stays, without it everything does."""
    return [word for word in words if offload is None or (word == "resident") is not offload]


def _vae_dtype(profile: Profile) -> Literal["float32", "bfloat16"]:
    return "bfloat16" if profile == "fast" else "float32"


def _multiplies_float8(weights: Weights, machine: Machine) -> bool:
    words = machine.gpus[0].compute_capability.split(".")
    can = all(word.isdigit() for word in words) and tuple(int(word) for word in words) >= _FLOAT8_CAPABILITY
    return can and weights.format == "float8"


def _cost_bytes(plan: Plan) -> int:
    """Return what *plan* costs in time, as bytes that the bus would carry meanwhile."""
    cost = plan.figures.moved_bytes
    cost += _CPU_TEXT_COST_BYTES if plan.placement.text_encoder == "cpu" else 0
    return cost + (_TILING_COST_BYTES if plan.placement.decode == "tiled" else 0)


def _lacking(figures: Figures, shape: Shape, machine: Machine) -> Iterator[str]:
    if figures.peak_bytes > machine.room_bytes:
        total = machine.gpus[0].memory_mib * 2**20
        has = f"{machine.gpus[0].name} has {total / GIB:.0f} GiB"
        if machine.room_bytes < total:
            has += f", {machine.room_bytes / GIB:.0f} GiB of them free"
        yield f"{has}; about {figures.peak_bytes / GIB:.0f} GiB are needed for {shape}"
    if machine.host_bytes is not None and figures.host_bytes > machine.host_bytes:
        free, needed = machine.host_bytes // GIB, figures.host_bytes // GIB
        yield f"{free} GiB of memory are free; the weights that wait there take {needed} GiB"
