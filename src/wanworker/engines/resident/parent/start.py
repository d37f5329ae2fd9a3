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


def resident(environment: Mapping[str, str], limits: Limits | None = None) -> Supervisor:
    """Return a supervisor of our own child in this interpreter; nothing is started before the first job."""
    # CUDA counts the cards by their speed unless told; nvidia-smi, by which a job is planned, counts by their place.
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    argv = (sys.executable, "-m", "wanworker.engines.resident.child")
    return Supervisor(argv, {**order, **environment, **_OFFLINE}, limits)
