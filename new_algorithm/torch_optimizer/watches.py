"""What the layers of a model have been given since the last step: all that its hooks show."""

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from new_algorithm.torch_optimizer.hooks import Watch
from new_algorithm.torch_optimizer.layers import Layer, layers_of
from new_algorithm.torch_optimizer.output_factors import residual_rows
from new_algorithm.torch_optimizer.statistics import GRAM, OUTPUT_GRAM, Key, Seen, gram, wide_dtype

Group = Mapping[str, Any]
OF_STEPS = ("lr", "lambda_w", "momentum", "gram_decay", "maximize")


class Watches:
    """The hooks in a model, and what they have seen since the last step.

    layers: by their weights, of several that share one the first. seen: by GRAM or OUTPUT_GRAM and
    weight. rows: of a call that are taken at most. widest: layers with more inputs are left alone.
    gathering: whether the next step wants Gram matrices of all layers; of those outside `known` it
    always does. seed: of the choice of rows. outputs: whether what goes down to the outputs of
    layers is wanted too; of those below another, `above`, it is the mask of the ReLU between them.
    """

    def __init__(self, rows: int, widest: int, outputs: bool = False) -> None:
        self.widest, self.outputs = widest, outputs
        self.above: dict[Tensor, Layer] = {}
        self._below: dict[Tensor, Tensor] = {}
        self.layers: dict[Tensor, Layer] = {}
        self.seen: dict[Key, Seen] = {}
        self.known: set[Tensor] = set()
        self.gathering, self.rows, self.seed = True, rows, 0
        self._watched: dict[nn.Module, Watch] = {}
        self._last: tuple[Any, ...] | None = None
        self._blind = False

    def attach(self, model: nn.Module, groups: Mapping[Tensor, Group], embeddings: bool) -> None:
        """Watch the layers whose weights are among these, each with the param group that it is in,
        and are not watched yet."""
        modules = list(model.named_modules())
        # a weight that an embedding shares with a linear layer is the linear layer's
        modules.sort(key=lambda pair: isinstance(pair[1], nn.Embedding))
        for name, module in modules:
            watch = self._watched.get(module)
            found = [
                layer if _trains_bias(layer, groups) else replace(layer, bias=None)
                for layer in layers_of(module, name or type(module).__name__)
                if layer.weight in groups
                and (nn.parameter.is_lazy(layer.weight) or layer.weight.numel())
            ]
            if isinstance(module, nn.Embedding) and not embeddings:
                found = [layer for layer in found if layer.weight in self.layers]  # shared
            for layer in found:
                self.layers.setdefault(layer.weight, layer)
            if watch is not None:
                watch.turn_to(found)
            elif found:
                self._watched[module] = Watch(found)
                self._watched[module].attach(module)
        self.adopt()

    def link(self, above: dict[Tensor, Layer]) -> None:
        """Let these layers be above the ones with these weights."""
        self.above = above
        self._below = {upper.weight: weight for weight, upper in above.items()}

    def adopt(self) -> None:
        """Let the hooks speak to this object, as after a copy."""
        for watch in self._watched.values():
            watch.owner = weakref.ref(self)

    def detach(self) -> None:
        for watch in self._watched.values():
            watch.detach()

    def means(self) -> dict[Key, Tensor]:
        """Return G of what each weight multiplies; ΔᵀΔ/n, or of a mask E[d dᵀ], of its outputs."""
        return {key: seen.mean for key, seen in self.seen.items()}

    def shapes(self) -> dict[Key, tuple[int, ...]]:
        """Return the shapes of the means that there may be, in an order that is every rank's."""
        found: dict[Key, tuple[int, ...]] = {}
        for weight, layer in self.layers.items():
            if self.is_too_wide(layer):
                continue
            m, d = layer.shape
            found[GRAM, weight] = (layer.blocks, d, d)
            if self.outputs:
                found[OUTPUT_GRAM, weight] = (layer.blocks, m, m)
        return found

    def clear(self) -> None:
        """Forget what was seen."""
        self._last = None
        self.seen.clear()

    @contextmanager
    def blind(self) -> Iterator[None]:
        """Inside, calls show nothing."""
        self._blind = True
        try:
            yield
        finally:
            self._blind = False

    def look(self, layer: Layer, inputs: Sequence[Any]) -> list[tuple[Key, Tensor]]:
        """Return what one call shows that is wanted: G and, in a chain, that of the mask below."""
        if not inputs or not all(map(_is_plain, inputs)):
            return []
        weight = layer.weight
        first, lower = self.layers[weight], self._below.get(weight)
        is_alike = layer.blocks == first.blocks
        bias = layer.bias is first.bias if first.bias is not None and is_alike else None
        call = _call(layer, inputs, bias)
        found, below = self._recall(call, inputs[0]) if lower is None else None, []
        if found is None:
            parts = layer.rows(inputs, self._choose)
            if not parts or any(rows.shape[-1] != layer.width_of_rows for rows in parts):
                return []  # a subclass, whose first argument is something else
            dtype = wide_dtype(weight.dtype)
            found = torch.cat([gram(rows, bias, dtype) for rows in parts])
            self._last = None if call is None else (call, weakref.ref(inputs[0]), found)
            if lower is not None:
                below.append(((OUTPUT_GRAM, lower), gram(parts[0] > 0, None, dtype)))
        return [((GRAM, weight), found if is_alike else _beside(first, found)), *below]

    def count(self, shown: Sequence[tuple[Key, Tensor]]) -> None:
        """Take in what a call has shown, from within the backward pass that its gradient is of."""
        for key, found in shown:
            self.seen.setdefault(key, Seen()).take(found, key[1])

    def _recall(self, call: tuple[Any, ...] | None, x: Tensor) -> Tensor | None:
        """Return the last G if it is that of this call too."""
        if self._last is None:
            return None
        last, seen, found = self._last
        return found if last == call and seen() is x else None

    def wants(self, layer: Layer) -> bool:
        """Whether to be shown what this layer is given."""
        if self._blind or not layer.weight.requires_grad:
            return False
        return (self.gathering or layer.weight not in self.known) and not self.is_too_wide(layer)

    def is_too_wide(self, layer: Layer) -> bool:
        """Whether its Gram matrix and the inverse of that would cost too much."""
        is_lazy = nn.parameter.is_lazy(layer.weight)
        return not is_lazy and layer.width_of_rows > self.widest

    def wants_output(self, layer: Layer) -> bool:
        """Whether to be shown what goes down to the outputs of this call."""
        upper = self.above.get(layer.weight)
        is_top = upper is None or self.is_too_wide(upper)  # of what is seen of a chain
        return self.outputs and is_top and self.wants(layer)

    def see_output(self, layer: Layer, gradient: Tensor) -> None:
        """Take in the gradient of a call's outputs."""
        rows = residual_rows(layer, gradient)
        if rows.shape[1] == 0:
            return
        rows = rows[:, self._choose(rows.shape[1]).to(rows.device)]
        found = gram(rows, None, wide_dtype(layer.weight.dtype))
        self.count([((OUTPUT_GRAM, layer.weight), found)])

    def _choose(self, total: int) -> Tensor:
        if total <= self.rows:
            return torch.arange(total, device="cpu")
        chance = torch.Generator("cpu").manual_seed(self.seed)
        return torch.randint(total, (self.rows,), generator=chance, device="cpu")

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self.adopt()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_last": None}


def _call(layer: Layer, inputs: Sequence[Tensor], bias: bool | None) -> tuple[Any, ...] | None:
    """Return what is equal for calls with the same G, as query's, key's and value's often is; None
    where the inputs of one call differ."""
    x = inputs[0]
    if any(one is not x for one in inputs):
        return None
    return id(x), x._version, len(inputs), layer.rows, layer.blocks, layer.width_of_rows, bias


def _is_plain(x: object) -> bool:
    """Whether these are rows that can be looked at: not within torch.vmap or torch.func, not of
    unequal lengths, and not what only a subclass takes."""
    if not isinstance(x, Tensor) or x.dim() == 0 or x.numel() == 0:
        return False
    return not x.is_nested and not torch._C._functorch.is_functorch_wrapped_tensor(x)


def _beside(first: Layer, found: Tensor) -> Tensor:
    """Return what an embedding that shares the weight of a linear layer adds to its G.

    diag(f) acts from the other side, and its mean is one more damping.
    """
    of_weights = torch.ones(first.shape[1], dtype=found.dtype, device=found.device)
    if first.bias is not None:
        of_weights[-1] = 0
    return (found.mean() * of_weights.diag())[None]


def _trains_bias(layer: Layer, groups: Mapping[Tensor, Group]) -> bool:
    """Whether the bias moves with the weights, and is a part of their layer: if it is in a group
    of its own, then where that has the same settings for layers."""
    if layer.bias is None or layer.bias not in groups:
        return False
    own, of_weight = groups[layer.bias], groups[layer.weight]
    if any(float(own[name]) != float(of_weight[name]) for name in OF_STEPS):
        return False
    return layer.bias.requires_grad or not layer.weight.requires_grad
