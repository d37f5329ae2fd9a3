"""Place a model's weights by their size and the memory of the card. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wanworker.engines.resident.protocol import Placement
from wanworker.models.machine.hardware import Gpu

_GIB = 2**30

#: Room for activations beside the weights. The README's peaks for 81 frames at 720p, less the weights resident then,
#: come to 10-20 GB (wan.md 1.8, 4.1); the decoder in float32 is the largest single part.
_ACTIVATIONS_BYTES = 16 * _GIB

#: What one offloaded component needs beside itself: a 24 GB card holds the 5B model's 10 GB and renders 720p so.
_OFFLOADED_ACTIVATIONS_BYTES = 8 * _GIB


def placement_for(sizes_bytes: Mapping[str, int], gpus: Sequence[Gpu], offload_model: bool | None = None) -> Placement:
    """
    Return where components of these sizes (bytes in memory) go: `offload_model` decides where the caller gave it.

    Only the first card counts: a pipeline lives on one.
    """
    if not gpus:
        return "cpu"
    if offload_model is not None:
        return "offload" if offload_model else "resident"
    fits = sum(sizes_bytes.values()) + _ACTIVATIONS_BYTES <= _card_bytes(gpus)
    return "resident" if fits else "offload"


def lacking_for(
    sizes_bytes: Mapping[str, int], gpus: Sequence[Gpu], available_memory_mib: int | None
) -> tuple[str, ...]:
    """Return in words what this machine lacks for a model whose components have these sizes in memory."""
    if not gpus:
        return ("no NVIDIA GPU",)
    largest = max(sizes_bytes.values(), default=0)
    lines = []
    if largest + _OFFLOADED_ACTIVATIONS_BYTES > _card_bytes(gpus):
        needed = (largest + _OFFLOADED_ACTIVATIONS_BYTES) / _GIB
        lines.append(f"{gpus[0].name} has {_card_bytes(gpus) / _GIB:.0f} GiB; about {needed:.0f} GiB are needed")
    total_mib = sum(sizes_bytes.values()) // 2**20
    is_offloaded = placement_for(sizes_bytes, gpus) == "offload"
    if is_offloaded and available_memory_mib is not None and available_memory_mib < total_mib:
        lines.append(
            f"{available_memory_mib // 1024} GiB of memory are free; the offloaded weights take {total_mib // 1024} GiB"
        )
    return tuple(lines)


def _card_bytes(gpus: Sequence[Gpu]) -> int:
    return gpus[0].memory_mib * 2**20
