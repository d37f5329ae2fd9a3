"""A linear layer whose weight stays in float8."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from wanworker.models.sources.checkpoint import FLOAT8_SIDE

#: The largest number of float8_e4m3fn, and what keeps a scale of nothing but zeros above zero.
_LARGEST, _SMALLEST_SCALE = 448.0, 1e-12

#: Activations are rounded in pieces of so many numbers: in float32 all of them would take 4 GB, and twice.
_PIECE_NUMBERS = 2**25


class Fp8Linear(torch.nn.Linear):  # type: ignore[misc]  # torch's types are not read here
    """
    A Linear over a float8 weight with a scale: it computes what its dequantised twin would, bit for bit.

    The float8 numbers are the buffer `fp8`. `weight` has the dtype of computing and no numbers: transformers casts
    activations to the dtype of `wo.weight`. `scale` is float32, of shape () or (rows, 1). `needs_full_precision` is the
    file's own word: this layer must not be multiplied in float8. A subclass of Linear, because LoRAs tell by that what
    shape their change to a layer's output has.
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
        self._is_float8 = False

    @property
    def weight(self) -> torch.Tensor:
        """Return what has the weight's shape and device and the dtype of computing; its numbers are NaN, and show."""
        nothing = torch.full((), float("nan"), dtype=self.compute, device=self.fp8.device)
        return nothing.expand(self.out_features, self.in_features)

    def dequantised(self) -> torch.Tensor:
        """Return the weight in the dtype of computing, shape (rows, columns), rounded once."""
        return self.fp8.float().mul_(self.scale).to(self.compute)

    def multiply_in_float8(self, *, wanted: bool) -> bool:
        """
        Round the activations to float8 from now on and multiply in it, where *wanted* and possible; say whether so.

        One scale a tensor is what every card from compute capability 8.9 on has: a scale for each row has no kernel on
        sm_120 in some builds of torch (pytorch issue 192707).
        """
        fits = self.in_features % FLOAT8_SIDE == 0 and self.out_features % FLOAT8_SIDE == 0
        is_possible = fits and self.scale.ndim == 0 and self.fp8.dtype == torch.float8_e4m3fn
        self._is_float8 = wanted and is_possible and not self.needs_full_precision
        return self._is_float8

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Multiply with the dequantised weight, or in float8."""
        given = input.to(self.compute)
        if self._is_float8:
            return self._multiplied(given)
        return functional.linear(given, self.dequantised(), self.bias)

    def _multiplied(self, given: torch.Tensor) -> torch.Tensor:
        rows = given.reshape(-1, self.in_features)
        lowest, highest = rows.aminmax()
        scale = (torch.maximum(-lowest, highest).float() / _LARGEST).clamp(min=_SMALLEST_SCALE)
        given8 = rounded(rows, scale)
        made = torch._scaled_mm(given8, self.fp8.t(), scale_a=scale, scale_b=self.scale, out_dtype=self.compute)
        made = made if self.bias is None else made.add_(self.bias)
        return made.reshape(*given.shape[:-1], self.out_features)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        """Let `.to()` move the float8 numbers and their scale, and convert neither."""

        def kept(tensor: torch.Tensor) -> torch.Tensor:
            is_ours = tensor is self.fp8 or tensor is self.scale
            return tensor.to(fn(tensor).device) if is_ours else fn(tensor)

        return super()._apply(kept, recurse)


def rounded(rows: torch.Tensor, scale: torch.Tensor, *, piece_numbers: int = _PIECE_NUMBERS) -> torch.Tensor:
    """Return *rows*, a matrix, by *scale* in float8; what is too large for it becomes its largest number."""
    made = torch.empty(rows.shape, dtype=torch.float8_e4m3fn, device=rows.device)  # in rows, as the kernel wants it
    step = max(1, piece_numbers // rows.shape[1])
    for piece, target in zip(rows.split(step), made.split(step), strict=True):
        target.copy_(piece.to(torch.float32, copy=True).div_(scale).clamp_(-_LARGEST, _LARGEST))
    return made


def multiply_in_float8(model: torch.nn.Module, *, wanted: bool) -> int:
    """Have every float8 layer of *model* multiply in float8, or none; return how many do."""
    layers = (module for module in model.modules() if isinstance(module, Fp8Linear))
    return sum(layer.multiply_in_float8(wanted=wanted) for layer in layers)
