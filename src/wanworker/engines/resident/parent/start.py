"""Start the resident child."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from wanworker.engines.resident.parent.supervisor import Limits, Supervisor

#: The child never asks the network: models are on the volume, and a hub that hangs would hang the job.
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


#: Experts of 14 GB take turns on the card. Without this, one small tensor that stays in the middle of the block that an
#: expert left keeps the next one out of it, and the memory of both is taken.
_ALLOCATOR = {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
_ALLOCATOR_NAMES = frozenset({"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"})


def resident(environment: Mapping[str, str], limits: Limits | None = None) -> Supervisor:
    """Return a supervisor of our own child in this interpreter; nothing is started before the first job."""
    argv = (sys.executable, "-m", "wanworker.engines.resident.child")
    return Supervisor(argv, environment_of(environment), limits)


def environment_of(given: Mapping[str, str]) -> dict[str, str]:
    """Return what the child has of *given*, whose word on the card comes first, and what it needs besides. Pure."""
    # CUDA counts the cards by their speed unless told; nvidia-smi, by which a job is planned, counts by their place.
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    allocator = {} if _ALLOCATOR_NAMES.intersection(given) else _ALLOCATOR
    return {**order, **allocator, **given, **_OFFLINE}
