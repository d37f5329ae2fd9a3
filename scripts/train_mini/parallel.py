"""Several processes that train one model: each draws its own clips, gradients are averaged; one without torchrun.

Layers this small gain nothing from a second thread; a second process nearly doubles the speed:
`torchrun --nproc-per-node 2 -m train_mini ...`.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, distributed


class Ranks:
    """This process among those that train together."""

    def __init__(self) -> None:
        self.count = 1
        self.rank = 0
        if distributed.is_torchelastic_launched():
            distributed.init_process_group("gloo")
            self.count, self.rank = distributed.get_world_size(), distributed.get_rank()

    @property
    def is_first(self) -> bool:
        """Say whether this is the process that writes and logs."""
        return self.rank == 0

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, in one exchange."""
        if self.count == 1:
            return
        parts = list(tensors)
        flat = torch.cat([part.detach().flatten() for part in parts])
        distributed.all_reduce(flat)
        flat /= self.count
        for part, mean in zip(parts, flat.split([part.numel() for part in parts]), strict=True):
            part.detach().copy_(mean.view_as(part))

    def wait(self) -> None:
        """Wait until every process is here: what one wrote, all may read."""
        if self.count > 1:
            distributed.barrier()

    def close(self) -> None:
        """Leave the group."""
        if self.count > 1:
            distributed.destroy_process_group()
