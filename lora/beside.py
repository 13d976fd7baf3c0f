"""A LoRA beside a layer, y = Wx + s·B(Ax), as trainers apply it while they train and sample. Pure torch.

Merged into a weight of 16 or 8 bits a change is rounded to what the weight can hold; beside it, it is not. What is
computed here is the layer's output with the LoRA from its input and its output without: the weight itself is not looked
at, so it may be quantised, elsewhere, or changed by others. Sources: github kohya-ss/sd-scripts, networks/lora_flux.py
`LoRAModule.forward`; huggingface/peft, tuners/lora/layer.py `Linear.forward`; KohakuBlueleaf/LyCORIS, functional.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .adapter import Adapter, lycoris_factor
from .delta import dora_ratio, glora_factors, rotations, weight_change, why_merged
from .names.table import row_span
from .rows import is_swapped
from .suffixes import DIFF_BIAS, DORA, DOWN, GLORA, LOKR, MAGNITUDE, MID, OFT, RESCALE, UP, UP_BIAS

_CONVOLUTIONS: Final = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
#: Weights whose norm is the one that the trainer saw: not those of 8 and 4 bits.
_PLAIN: Final = (torch.float32, torch.float16, torch.bfloat16)

#: What changes a weight and has a form beside it; what changes a bias.
_CHANGES: Final = frozenset({UP, OFT, "hada_w1_a", *LOKR, *GLORA})
_BIASES: Final = frozenset({UP_BIAS, DIFF_BIAS})


class Layer(NamedTuple):
    """What a linear or convolution layer is, beside its numbers: the size of its output, the shape of one row of its
    weight, and of a convolution stride, padding and dilation (None = linear)."""

    rows: int
    columns: tuple[int, ...]
    convolution: Mapping[str, Any] | None = None

    @property
    def channels(self) -> int:
        """Which dimension of the output the rows of the weight are, counted from the last one."""
        return -len(self.columns)

    def spread(self, values: Tensor) -> Tensor:
        """One number a channel, shaped to be multiplied with an output or input of the layer."""
        return values if self.convolution is None else values.view(-1, *[1] * (len(self.columns) - 1))

    def on(self, x: Tensor, weight: Tensor, kernel: bool = True) -> Tensor:
        """x through another weight of this layer's kind; kernel: with the layer's own, else point by point."""
        if self.convolution is None:
            return functional.linear(x, weight if weight.ndim == 2 else weight.flatten(1))
        size, how = (self.columns[1:], self.convolution) if kernel else ([1] * (len(self.columns) - 1), {})
        return _CONVOLUTIONS[len(size)](x, weight.reshape(weight.shape[0], -1, *size), **how)


class Call(NamedTuple):
    """One forward of a layer, as a term sees it that is no sum."""

    x: Tensor
    tensors: Sequence[Tensor]  # the term's, of the input's type and on its device
    layer: Layer
    bias: Tensor | None  # of the term's rows
    again: Callable[[Tensor], Tensor]  # the term's rows for another input, without bias


@dataclass(frozen=True)
class Term:
    """What one adapter does to the rows `start` to `start + count` of a layer's output (start None = all of them).

    swapped: the file has the two halves of the rows the other way round.
    """

    tensors: tuple[Tensor, ...]
    scale: float
    strength: float
    start: int | None = None
    count: int = 0
    swapped: bool = False

    def after(self, part: Tensor, call: Call) -> Tensor:
        """The rows with the adapter; `part` may be written to."""
        raise NotImplementedError

    def scaled(self, change: Tensor) -> Tensor:
        """The change, written to, at its scale and strength."""
        for factor in (self.strength, self.scale):  # one after the other, as kohya's forward rounds
            if factor != 1.0:
                change.mul_(factor)
        return change


class Sum(Term):
    """An adapter that adds what it makes of the layer's input alone. Nearly all are, and every layer of every step has
    one: `add_to` does nothing but its arithmetic."""

    def change(self, x: Tensor, tensors: Sequence[Tensor], layer: Layer) -> Tensor:
        """What is added to the rows, unscaled. tensors: the term's, of the input's type and on its device."""
        raise NotImplementedError

    def add_to(self, y: Tensor, x: Tensor, tensors: Sequence[Tensor], layer: Layer) -> None:
        """Write the adapter into `y`, the layer's output for `x`."""
        change = self.scaled(self.change(x, tensors, layer))
        part = y if self.start is None else y.narrow(layer.channels, self.start, self.count)
        part.add_(_swap(change, layer.channels) if self.swapped else change)


class Pair(Sum):
    """up(down(x)), of a convolution with its kernel in down or, in Tucker form, in a middle."""

    def change(self, x: Tensor, tensors: Sequence[Tensor], layer: Layer) -> Tensor:
        up, down, *mid = tensors
        inner = layer.on(x, down, kernel=not mid)
        for core in mid:
            inner = layer.on(inner, core)
        return layer.on(inner, up, kernel=False)


class Whole(Sum):
    """A change of the whole weight, where it has no smaller form (LoHa of high rank or in Tucker form)."""

    def change(self, x: Tensor, tensors: Sequence[Tensor], layer: Layer) -> Tensor:
        return layer.on(x, tensors[0])


class Kronecker(Sum):
    """kron(w1, w2) x (LoKr): w2 on groups of the input's channels, then w1 across the groups."""

    def change(self, x: Tensor, tensors: Sequence[Tensor], layer: Layer) -> Tensor:
        first, second = tensors
        if layer.convolution is None:
            inner = functional.linear(x.unflatten(-1, (first.shape[1], -1)), second.flatten(1))
            return torch.einsum("oj,...jp->...op", first, inner).flatten(-2)
        groups = x.unflatten(1, (first.shape[1], -1))
        inner = layer.on(groups.flatten(0, 1), second).unflatten(0, groups.shape[:2])
        return torch.einsum("oj,bjp...->bop...", first, inner).flatten(1, 2)


@dataclass(frozen=True)
class Magnitude(Term):
    """DoRA: the rows of W + change, or its columns, times a ratio (tensors[0], of the file's rows); see `inner`."""

    inner: Sum = field(kw_only=True)
    by_column: bool = field(kw_only=True)

    def after(self, part: Tensor, call: Call) -> Tensor:
        ratio, *own = call.tensors
        ratio = call.layer.spread(ratio)
        if self.by_column:  # W' x = (W + change)(ratio · x)
            changed = self.inner.change(call.x * ratio, own, call.layer).mul_(self.inner.scale)
            return part + self.strength * (call.again(call.x * (ratio - 1)) + changed)
        plain = part if call.bias is None else part - call.layer.spread(call.bias)
        changed = self.inner.change(call.x, own, call.layer).mul_(self.inner.scale)
        return part + self.strength * ((ratio - 1) * plain + ratio * changed)


@dataclass(frozen=True)
class Rotation(Term):
    """OFT and, in several stages over exchanged rows, BOFT: blocks of the output without its bias are rotated.

    tensors: R - 1 by stage [blocks, size, size], and what the rows are multiplied with at last if `rescaled`.
    """

    rescaled: bool = field(kw_only=True)
    butterfly: bool = field(kw_only=True)

    def after(self, part: Tensor, call: Call) -> Tensor:
        stages = call.tensors[:-1] if self.rescaled else call.tensors
        bias = None if call.bias is None else call.layer.spread(call.bias)
        turned = (part if bias is None else part - bias).movedim(call.layer.channels, -1)
        for number, blocks in enumerate(stages):
            size = blocks.shape[1]
            rows = self._exchanged(turned, 2, 2**number * (size // 2))
            change = torch.einsum("knm,...kn->...km", blocks, rows.unflatten(-1, (-1, size))).flatten(-2)
            turned = turned + self.strength * self._exchanged(change, 2**number * (size // 2), 2)
        if self.rescaled:
            turned = turned * call.tensors[-1]
        turned = turned.movedim(-1, call.layer.channels)
        return turned if bias is None else turned + bias

    def _exchanged(self, rows: Tensor, outer: int, inner: int) -> Tensor:
        return rows.unflatten(-1, (-1, outer, inner)).transpose(-1, -2).flatten(-3) if self.butterfly else rows


class Generalised(Term):
    """GLoRA: W(x + s·A x) + s·B x."""

    def after(self, part: Tensor, call: Call) -> Tensor:
        a_up, a_down, b_up, b_down = call.tensors
        layer = call.layer
        inside = layer.on(layer.on(call.x, a_down, kernel=False), a_up, kernel=False)
        change = call.again(inside) + layer.on(layer.on(call.x, b_down), b_up, kernel=False)
        return part.add_(self.scaled(change))


class Bias(Sum):
    """A change of the bias."""

    def change(self, x: Tensor, tensors: Sequence[Tensor], layer: Layer) -> Tensor:
        return layer.spread(tensors[0]).clone()


def terms_of(adapter: Adapter, strength: float, layer: Layer, weight: Tensor | None = None) -> list[Term] | None:
    """What `adapter` does to `layer` at `strength`; None where that has no form beside the weight.

    weight: the layer's own, which a DoRA needs; a quantised one gives no norm that is the trainer's, so None. A whole
    difference (`.diff`) has no form of its own either: its trainer changes the weight.
    """
    tensors = adapter.tensors
    terms: list[Term] = []
    if why_merged(adapter) is not None:
        return None
    if not _CHANGES.isdisjoint(tensors):
        term: Term | None = _weight_term(adapter, strength, layer)
        if term and (DORA in tensors or MAGNITUDE in tensors):
            term = _with_magnitude(term, adapter, weight)
        if term is None:
            return None
        terms.append(term)
    return [*terms, *bias_terms(adapter, strength, layer)]


def bias_terms(adapter: Adapter, strength: float, layer: Layer) -> list[Term]:
    """What `adapter` adds to the layer's bias."""
    found: list[Term] = []
    if _BIASES.isdisjoint(adapter.tensors):  # of nearly all
        return found
    for kind, scale in ((UP_BIAS, adapter.scale), (DIFF_BIAS, 1.0)):
        if kind in adapter.tensors:
            values = adapter.tensors[kind].reshape(-1)
            found.append(Bias((values,), scale, strength, **_place(adapter, values.shape[0], layer)))
    return found


def _place(adapter: Adapter, height: int, layer: Layer) -> dict[str, Any]:
    """Where the adapter's `height` rows are in the layer's output."""
    rows = adapter.target.rows
    start = None if rows is None else row_span(rows, height)[0]
    return {"start": start, "count": height, "swapped": is_swapped(adapter.target, height, layer.columns[0])}


def _weight_term(adapter: Adapter, strength: float, layer: Layer) -> Term:
    tensors, scale = adapter.tensors, adapter.scale

    def made(kind: type[Term], own: Sequence[Tensor], height: int, **more: Any) -> Term:
        return kind(tuple(own), scale, strength, **_place(adapter, height, layer), **more)

    if UP in tensors:
        mid = [tensors[MID]] if MID in tensors else []
        return made(Pair, [tensors[UP], tensors[DOWN], *mid], tensors[UP].shape[0])
    if OFT in tensors:
        stages, rescale = rotations(adapter), [tensors[RESCALE].reshape(-1)] if RESCALE in tensors else []
        height = stages.shape[1] * stages.shape[2]
        butterfly = tensors[OFT].ndim == 4
        own = [*(stages.transpose(-1, -2) if butterfly else stages), *rescale]
        return made(Rotation, own, height, rescaled=bool(rescale), butterfly=butterfly)
    if "hada_w1_a" in tensors:
        return _hadamard(adapter, made)
    if any(kind in tensors for kind in LOKR):
        numbers = {kind: tensor.float() for kind, tensor in tensors.items()}
        first, second = lycoris_factor(numbers, "lokr_w1", ""), lycoris_factor(numbers, "lokr_w2", "lokr_t2")
        return made(Kronecker, [first.flatten(1), second], first.shape[0] * second.shape[0])
    factors = glora_factors(tensors)
    return made(Generalised, factors, factors[2].shape[0])


def _hadamard(adapter: Adapter, made: Callable[..., Term]) -> Term:
    """LoHa: (A1 B1)∘(A2 B2) is a pair of rank r² (products of columns and of rows), where that is the smaller form."""
    tensors = {kind: tensor.float() for kind, tensor in adapter.tensors.items()}
    (a1, b1), (a2, b2) = ((tensors[f"hada_{one}_a"], tensors[f"hada_{one}_b"]) for one in ("w1", "w2"))
    rank = b1.shape[0] * b2.shape[0]
    if "hada_t1" not in tensors and rank * (a1.shape[0] + b1.shape[1]) < a1.shape[0] * b1.shape[1]:
        up, down = (a1[:, :, None] * a2[:, None]).flatten(1), (b1[:, None] * b2[None]).flatten(0, 1)
        return made(Pair, [up, down], up.shape[0])
    change = _whole_change(adapter)
    return made(Whole, [change], change.shape[0])


def _with_magnitude(term: Term, adapter: Adapter, weight: Tensor | None) -> Term | None:
    if weight is None or weight.dtype not in _PLAIN or not isinstance(term, Sum):
        return None
    start = term.start or 0
    part = weight[start : start + term.count].float()
    ratio = dora_ratio(adapter, part, _whole_change(adapter), by_host=False)
    by_column = ratio.shape[0] == 1 and term.count != 1
    if term.swapped and not by_column:
        ratio = _swap(ratio, 0)
    own = (ratio.reshape(-1), *term.tensors)
    rows = (term.start, term.count, term.swapped)
    return Magnitude(own, 1.0, term.strength, *rows, inner=term, by_column=by_column)


def _whole_change(adapter: Adapter) -> Tensor:
    change = weight_change(adapter)
    if change is None:
        raise TypeError(f"{adapter.module} changes no weight by itself")
    return change


#: A term, and its tensors of an input's type and on its device.
_Cast = tuple[Term, tuple[Tensor, ...]]


class Beside:
    """What several LoRAs, one after the other, do to one layer."""

    def __init__(self, terms: Sequence[Term], layer: Layer) -> None:
        """terms: in the order of the LoRAs; their changes of the bias come last."""
        self.terms = sorted(terms, key=lambda term: isinstance(term, Bias))
        self.layer = layer
        self._bias_matters = not all(isinstance(term, Sum) for term in terms)
        self._cast: dict[tuple[torch.device, torch.dtype], list[_Cast]] = {}

    def forget(self) -> None:
        """Give back the copies of the tensors on other devices and of other types."""
        self._cast.clear()

    def output(self, forward: Callable[[Tensor], Tensor], x: Tensor, bias: Callable[[Tensor], Tensor | None]) -> Tensor:
        """The layer's output with the LoRAs for `x`, computed in x's type.

        forward: the layer without them. bias: the layer's own, of the type and on the device of the tensor it is given.
        """
        return self._through(self._terms_for(x), forward, x, forward(x), bias(x) if self._bias_matters else None)

    def _through(
        self, terms: Sequence[_Cast], forward: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, bias: Tensor | None
    ) -> Tensor:
        for number, (term, tensors) in enumerate(terms):
            if isinstance(term, Sum):
                term.add_to(y, x, tensors, self.layer)
                continue

            def linear(z: Tensor, earlier: Sequence[_Cast] = terms[:number]) -> Tensor:
                plain = forward(z)
                plain = plain if bias is None else plain - self.layer.spread(bias)
                return self._through(earlier, forward, z, plain, None)

            y = self._applied(term, y, Call(x, tensors, self.layer, bias, linear))
        return y

    def _applied(self, term: Term, y: Tensor, whole: Call) -> Tensor:
        """whole: with all rows of the layer's bias and of its output for another input."""

        def rows(values: Tensor, dim: int) -> Tensor:
            part = values if term.start is None else values.narrow(dim, term.start, term.count)
            return _swap(part, dim) if term.swapped else part

        channels = self.layer.channels
        part = rows(y, channels)
        bias = None if whole.bias is None else rows(whole.bias, 0)
        after = term.after(part, whole._replace(bias=bias, again=lambda z: rows(whole.again(z), channels)))
        if term.swapped:
            after = _swap(after, channels)
        if term.start is None:
            return after
        if after is not part:
            y.narrow(channels, term.start, term.count).copy_(after)
        return y

    def _terms_for(self, x: Tensor) -> list[_Cast]:
        found = self._cast.get((x.device, x.dtype))
        if found is None:
            found = [(term, tuple(tensor.to(x.device, x.dtype) for tensor in term.tensors)) for term in self.terms]
            self._cast[x.device, x.dtype] = found
        return found


def _swap(values: Tensor, dim: int) -> Tensor:
    return torch.cat(values.chunk(2, dim=dim)[::-1], dim=dim)
