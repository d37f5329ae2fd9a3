"""What one LoRA changes of one layer, computed beside the layer: its own weights stay as they are."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

#: The name under which the changes of a layer hang below it, so that they move with it between devices.
BESIDE = "lora_changes"


class Change(nn.Module):  # type: ignore[misc]  # torch's types are not read here
    """Something that is added to what a layer gives for the same input, as strong as `strength`."""

    def __init__(self) -> None:
        super().__init__()
        self.strength = 1.0

    def add(self, layer: nn.Module, given: Tensor, made: Tensor, strength: float) -> None:
        """Add to *made*, in place, what this makes of *given*."""
        raise NotImplementedError

    def dense(self) -> Tensor:
        """Return what is added to the layer's weight, of its shape, in float32."""
        raise NotImplementedError


class LowRank(Change):
    """`up @ down` times `scale`; up is (outputs, rank), down (rank, inputs)."""

    def __init__(self, down: Tensor, up: Tensor, scale: float) -> None:
        super().__init__()
        self.register_buffer("down", down, persistent=False)
        self.register_buffer("up", up, persistent=False)
        self.scale = scale

    def add(self, layer: nn.Module, given: Tensor, made: Tensor, strength: float) -> None:  # noqa: ARG002 - the contract's
        """Multiply through the rank; scaling and adding are part of the second product."""
        inside = functional.linear(given.to(made.dtype), self.down.to(made.dtype))
        _matrix(made).addmm_(_rows(inside), self.up.to(made.dtype).T, alpha=self.scale * strength)

    def dense(self) -> Tensor:
        """Return the product of both."""
        return self.up.float() @ self.down.float() * self.scale


class Kronecker(Change):
    """The Kronecker product of `left` and `right` times `scale` (LoKr), which is never written out."""

    def __init__(self, left: Tensor, right: Tensor, scale: float) -> None:
        super().__init__()
        self.register_buffer("left", left, persistent=False)
        self.register_buffer("right", right, persistent=False)
        self.scale = scale

    def add(self, layer: nn.Module, given: Tensor, made: Tensor, strength: float) -> None:  # noqa: ARG002 - the contract's
        """Multiply with one factor, then with the other."""
        blocks = _rows(given.to(made.dtype)).unflatten(1, (self.left.shape[1], self.right.shape[1]))
        half = functional.linear(blocks, self.right.to(made.dtype))
        whole = torch.einsum("oi,nir->nor", self.left.to(made.dtype), half)
        _matrix(made).add_(whole.flatten(1), alpha=self.scale * strength)

    def dense(self) -> Tensor:
        """Write the product out."""
        return torch.kron(self.left.float(), self.right.float()) * self.scale


class Difference(Change):
    """A difference of the layer's whole weight, of its shape."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)

    def add(self, layer: nn.Module, given: Tensor, made: Tensor, strength: float) -> None:
        """Multiply, or convolve as the layer does."""
        weight, given = self.weight.to(made.dtype), given.to(made.dtype)
        if weight.dim() == 2:
            _matrix(made).addmm_(_rows(given), weight.T, alpha=strength)
        else:
            made.add_(functional.conv3d(given, weight, None, layer.stride, layer.padding), alpha=strength)

    def dense(self) -> Tensor:
        """Return the difference itself."""
        return self.weight.float()


class Bias(Change):
    """A difference of the layer's bias."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("bias", bias, persistent=False)

    def add(self, layer: nn.Module, given: Tensor, made: Tensor, strength: float) -> None:  # noqa: ARG002 - the contract's
        """Add it to every output of its channel."""
        made.add_(_channels(self.bias, made, layer), alpha=strength)


class Magnitudes(Change):
    """
    DoRA: the weight with its `inner` changes, brought to trained magnitudes, instead of the weight.

    `gain` is magnitude by norm, one number a row of the weight (each output) or, with *of_inputs*, a column.
    """

    def __init__(self, inner: Sequence[Change], gain: Tensor, *, of_inputs: bool) -> None:
        super().__init__()
        self.inner = nn.ModuleList(inner)
        self.register_buffer("gain", gain.float().flatten(), persistent=False)
        self.of_inputs = of_inputs

    def moved(self, layer: nn.Module, given: Tensor, plain: Tensor) -> Tensor:
        """Return the changed layer less the layer, which makes *plain* of *given*."""
        bias = 0 if layer.bias is None else _channels(layer.bias, plain, layer)
        unbiased = plain - bias
        if self.of_inputs:
            given = given * self.gain.to(given.dtype)
            changed = layer.forward(given) - bias
        else:
            changed = unbiased.clone()
        for change in self.inner:
            change.add(layer, given, changed, 1.0)
        if not self.of_inputs:
            changed.mul_(_channels(self.gain, plain, layer))
        moved: Tensor = changed.sub_(unbiased)
        return moved


class Substitute(Change):
    """A difference of a parameter that no product has: a norm's weight or bias, a modulation."""

    def __init__(self, parameter: str, difference: Tensor) -> None:
        super().__init__()
        self.parameter = parameter
        self.register_buffer("difference", difference, persistent=False)


class Beside(nn.Module):  # type: ignore[misc]  # as above
    """All changes of one layer, in the order in which they came."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.changes = nn.ModuleList()
        self._replaced: list[tuple[str, nn.Parameter]] = []
        self._hooks = (
            layer.register_forward_pre_hook(self._before),
            layer.register_forward_hook(self._after, always_call=True),
        )

    def remove_hooks(self) -> None:
        """Leave the layer as it was."""
        for hook in self._hooks:
            hook.remove()

    def _before(self, layer: nn.Module, _inputs: tuple[Any, ...]) -> None:
        for change in self.changes:
            if isinstance(change, Substitute):
                own = layer._parameters[change.parameter]
                self._replaced.append((change.parameter, own))
                difference = change.difference.to(own.device, torch.float32)
                changed = (own.float() + difference * change.strength).to(own.dtype)
                layer._parameters[change.parameter] = nn.Parameter(changed, requires_grad=False)

    def _after(self, layer: nn.Module, inputs: tuple[Any, ...], made: Any) -> None:
        while self._replaced:
            name, own = self._replaced.pop()
            layer._parameters[name] = own
        changes = [change for change in self.changes if change.strength and not isinstance(change, Substitute)]
        if made is not None and changes:
            _add(changes, layer, inputs[0], made)


def _add(changes: Sequence[Change], layer: nn.Module, given: Tensor, made: Tensor) -> None:
    """Add all of *changes* to *made* in place."""
    magnitudes = [change for change in changes if isinstance(change, Magnitudes)]
    # A DoRA is told from what the layer itself makes: what others add must not be scaled.
    plain = made.clone() if len(magnitudes) > 1 else made
    for change in changes:
        _follow(change, made.device)
    for change in magnitudes:
        made.add_(change.moved(layer, given, plain), alpha=change.strength)
    for change in changes:
        if not isinstance(change, Magnitudes):
            change.add(layer, given, made, change.strength)


def beside(layer: nn.Module) -> Beside:
    """Return the changes of *layer*, none of them at first."""
    found = layer._modules.get(BESIDE)
    if found is None:
        found = Beside(layer)
        layer.add_module(BESIDE, found)
    assert isinstance(found, Beside)
    return found


def drop(layer: nn.Module, dropped: Container[int]) -> None:
    """Drop the changes of *layer* whose `id()` is among *dropped*; without any left the layer is as it was."""
    found = beside(layer)
    found.changes = nn.ModuleList(change for change in found.changes if id(change) not in dropped)
    if not found.changes:
        found.remove_hooks()
        del layer._modules[BESIDE]


def _follow(change: nn.Module, device: torch.device) -> None:
    """Go where the layer computes: a layer whose weights stream through a slot is moved by nobody."""
    tensor = next(change.buffers(), None)
    if tensor is not None and tensor.device != device:
        change.to(device)


def _rows(tensor: Tensor) -> Tensor:
    """Return the same numbers as a matrix."""
    return tensor.reshape(-1, tensor.shape[-1])


def _matrix(made: Tensor) -> Tensor:
    """Return a view of what a layer just made as a matrix, to be written to; never a copy, whose sum would be lost."""
    return made.view(-1, made.shape[-1])


def _channels(values: Tensor, made: Tensor, layer: nn.Module) -> Tensor:
    """Shape one number a channel so that it spreads over *made*: the last axis, a convolution's second."""
    values = values.to(made.dtype)
    return values if isinstance(layer, nn.Linear) else values.view(-1, *[1] * (made.dim() - 2))
