"""A linear layer whose weight stays in float8."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional


class Fp8Linear(torch.nn.Linear):  # type: ignore[misc]  # torch's types are not read here
    """
    A Linear over a float8 weight with a scale: it computes what its dequantised twin would, bit for bit.

    The float8 numbers are the buffer `fp8`, never an attribute called `weight`: transformers casts activations to the
    dtype of `wo.weight`, and peft its LoRAs to that of `weight`. `scale` is float32, of shape () or (rows, 1).
    `needs_full_precision` is the file's own word: this layer must not be multiplied in float8, whatever the profile.
    A subclass of Linear, so that peft adapts it.
    """

    fp8: torch.Tensor
    scale: torch.Tensor

    def __init__(self, of: torch.nn.Linear, fp8: torch.Tensor, scale: torch.Tensor, compute: torch.dtype) -> None:
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features = of.in_features, of.out_features
        self.register_buffer("fp8", fp8)
        self.register_buffer("scale", scale)
        self.bias = of.bias
        self.compute = compute
        self.needs_full_precision = False

    @property
    def weight(self) -> torch.Tensor:
        """Return what has the weight's shape and device and the dtype of computing; its numbers are NaN, and show."""
        nothing = torch.full((), float("nan"), dtype=self.compute, device=self.fp8.device)
        return nothing.expand(self.out_features, self.in_features)

    def dequantised(self) -> torch.Tensor:
        """Return the weight in the dtype of computing, shape (rows, columns), rounded once."""
        return (self.fp8.float() * self.scale).to(self.compute)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Multiply with the dequantised weight."""
        return functional.linear(input.to(self.compute), self.dequantised(), self.bias)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        """Let `.to()` move the float8 numbers and their scale, and convert neither."""

        def kept(tensor: torch.Tensor) -> torch.Tensor:
            is_ours = tensor is self.fp8 or tensor is self.scale
            return tensor.to(fn(tensor).device) if is_ours else fn(tensor)

        return super()._apply(kept, recurse)
