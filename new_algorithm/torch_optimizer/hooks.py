"""Forward hooks that show an optimizer what the layers of its model are given."""

import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode

from new_algorithm.torch_optimizer.layers import Layer, layers_of
from new_algorithm.torch_optimizer.output_factors import residual_rows
from new_algorithm.torch_optimizer.statistics import Seen, gram, means_of, wide_dtype


class Watches:
    """The hooks in a model, and what they have seen since the last step.

    layers: by their weights, of several that share one the first. seen: likewise. rows: of a call
    that are taken at most. gathering: whether the next step wants Gram matrices of all layers; of
    those outside `known` it always does. seed: of the choice of rows. outputs: whether what goes
    down to the outputs of layers is wanted too; of those below another, `above`, it is the mask of
    the ReLU between them.
    """

    def __init__(self, rows: int, outputs: bool = False) -> None:
        self.outputs = outputs
        self.above: dict[Tensor, Layer] = {}
        self._below: dict[Tensor, Tensor] = {}
        self.seen_outputs: dict[Tensor, Seen] = {}
        self.layers: dict[Tensor, Layer] = {}
        self.seen: dict[Tensor, Seen] = {}
        self.known: set[Tensor] = set()
        self.gathering, self.rows, self.seed = True, rows, 0
        self._watched: dict[nn.Module, Watch] = {}
        self._last: tuple[Any, ...] | None = None
        self._blind = False

    def attach(self, model: nn.Module, weights: Collection[Tensor], embeddings: bool) -> None:
        """Watch the layers whose weights are among these, and are not watched yet."""
        modules = list(model.named_modules())
        # a weight that an embedding shares with a linear layer is the linear layer's
        modules.sort(key=lambda pair: isinstance(pair[1], nn.Embedding))
        for name, module in modules:
            if module in self._watched:
                continue
            found = [
                layer if _trains_bias(layer, weights) else replace(layer, bias=None)
                for layer in layers_of(module, name)
                if layer.weight in weights
                and (nn.parameter.is_lazy(layer.weight) or layer.weight.numel())
            ]
            if isinstance(module, nn.Embedding) and not embeddings:
                found = [layer for layer in found if layer.weight in self.layers]  # shared
            if not found:
                continue
            for layer in found:
                self.layers.setdefault(layer.weight, layer)
                self.seen.setdefault(layer.weight, Seen())
                self.seen_outputs.setdefault(layer.weight, Seen())
            self._watched[module] = Watch(found)
            self._watched[module].attach(module, self.outputs)
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
        self._watched.clear()

    def means(self) -> dict[Tensor, Tensor]:
        """Return G of each weight that was seen."""
        return means_of(self.seen)

    def output_means(self) -> dict[Tensor, Tensor]:
        """Return ΔᵀΔ/n, or of a mask E[d dᵀ], of each weight whose outputs were seen."""
        return means_of(self.seen_outputs)

    def output_shapes(self) -> dict[Tensor, tuple[int, ...]]:
        """Return the shape of what is seen of the outputs of each weight."""
        if not self.outputs:
            return {}
        return {w: (x.blocks, x.shape[0], x.shape[0]) for w, x in self.layers.items()}

    def gram_shapes(self) -> dict[Tensor, tuple[int, ...]]:
        """Return the shape of G of each weight."""
        return {w: (x.blocks, x.shape[1], x.shape[1]) for w, x in self.layers.items()}

    def clear(self) -> None:
        """Forget what was seen."""
        self._last = None
        for seen in (*self.seen.values(), *self.seen_outputs.values()):
            seen.clear()

    @contextmanager
    def blind(self) -> Iterator[None]:
        """Inside, calls show nothing."""
        self._blind = True
        try:
            yield
        finally:
            self._blind = False

    def see(self, layer: Layer, inputs: Sequence[Tensor]) -> None:
        """Take in the inputs of one call."""
        seen, first = self.seen[layer.weight], self.layers[layer.weight]
        if not self._wants(layer) or inputs[0].numel() == 0:
            return
        # Within a backward pass a checkpointed segment is called for the second time
        if torch._C._current_graph_task_id() != -1 and seen.total is not None:
            return
        dtype = wide_dtype(layer.weight.dtype)
        x, bias, is_alike = inputs[0], None, layer.blocks == first.blocks
        if first.bias is not None and is_alike:
            bias = layer.bias is first.bias  # of layers that share a weight, some may lack it
        # query, key and value are often made of the same tensor
        same = (id(x), x._version, len(inputs), layer.rows, layer.blocks, bias)
        alone, last = all(one is x for one in inputs), self._last
        is_last = alone and last is not None and last[0] == same and last[1]() is x
        below = self._below.get(layer.weight)
        parts = [] if is_last and below is None else layer.rows(inputs, self._choose)
        if is_last and last is not None:
            found = last[2]
        else:
            found = torch.cat([gram(rows, bias, dtype) for rows in parts])
            self._last = (same, weakref.ref(x), found) if alone else None
        if not is_alike:
            # an embedding beside a linear layer: diag(f) acts from the other side, and its mean is
            # one more damping
            of_weights = torch.ones(first.shape[1], dtype=found.dtype, device=found.device)
            if first.bias is not None:
                of_weights[-1] = 0
            found = (found.mean() * of_weights.diag())[None]
        seen.take(layer.weight, found)
        if below is not None:
            (rows,) = parts
            self.seen_outputs[below].take(below, gram(rows > 0, None, dtype))

    def _wants(self, layer: Layer) -> bool:
        if self._blind or not layer.weight.requires_grad:
            return False
        return self.gathering or layer.weight not in self.known

    def wants_output(self, layer: Layer) -> bool:
        """Whether to be shown what goes down to the outputs of this call."""
        return self._wants(layer) and self.outputs and layer.weight not in self.above

    def see_output(self, layer: Layer, gradient: Tensor) -> None:
        """Take in the gradient of a call's outputs."""
        rows = residual_rows(layer, gradient)
        rows = rows[:, self._choose(rows.shape[1]).to(rows.device)]
        dtype = wide_dtype(layer.weight.dtype)
        scale = rows.abs().max().clamp(min=torch.finfo(rows.dtype).tiny)  # it does not matter
        self.seen_outputs[layer.weight].take(layer.weight, gram(rows / scale, None, dtype))

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


def _trains_bias(layer: Layer, weights: Collection[Tensor]) -> bool:
    """Whether the bias moves with the weights, and is a part of their layer."""
    if layer.bias is None or layer.bias not in weights:
        return False
    return layer.bias.requires_grad or not layer.weight.requires_grad


class Watch:
    """The hooks of one module. They hold the watches weakly, and can be copied and pickled with the
    model: a copy is silent until it is adopted."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = list(layers)
        self.owner: Callable[[], Watches | None] = _nobody
        self._modes: list[TorchFunctionMode] = []
        self._handles: list[Any] = []

    def attach(self, module: nn.Module, outputs: bool) -> None:
        self._handles = [module.register_forward_pre_hook(self.before, with_kwargs=True)]
        if isinstance(module, nn.MultiheadAttention):
            self._handles.append(module.register_forward_hook(self.after, always_call=True))
        elif outputs and not isinstance(module, nn.Embedding):
            self._handles.append(module.register_forward_hook(self.below))

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()

    @torch.compiler.disable
    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.owner() is None or not torch.is_grad_enabled():
            return
        if not isinstance(module, nn.MultiheadAttention):
            for layer in self.layers:
                self._show(layer, args or tuple(kwargs.values()))
            return
        given = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
        for layer in self.layers:
            if layer.weight is module.out_proj.weight:
                self._modes.append(_InputsOf(layer.weight, partial(self._show, layer)))
                self._modes[-1].__enter__()
            else:
                self._show(layer, [given[name] for name in ("query", "key", "value")])

    @torch.compiler.disable
    def after(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._modes:
            self._modes.pop().__exit__(None, None, None)

    @torch.compiler.disable
    def below(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        owner = self.owner()
        for layer in self.layers:
            if owner is not None and output.requires_grad and owner.wants_output(layer):
                output.register_hook(partial(self._show, layer, what="see_output"))

    def _show(self, layer: Layer, tensors: Any, what: str = "see") -> None:
        """Let the owner see inputs, or the gradient of outputs."""
        owner = self.owner()
        if owner is not None:
            with torch.no_grad(), torch.autocast(layer.weight.device.type, enabled=False):
                getattr(owner, what)(layer, tensors)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"owner": _nobody, "_modes": []}


def _nobody() -> None:
    return None


class _InputsOf(TorchFunctionMode):
    """Inside, `take` is shown what nn.MultiheadAttention multiplies by the weight of its last
    projection: it hands it to a function, and never calls the module."""

    def __init__(self, weight: Tensor, take: Callable[[Sequence[Tensor]], None]) -> None:
        super().__init__()
        self._weight, self._take = weight, take

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.multi_head_attention_forward:
            # within it no mode is asked, and the name by which it calls F.linear is its own
            names = {**func.__globals__, "linear": self._linear}
            defaults = func.__defaults__
            func = FunctionType(func.__code__, names, func.__name__, defaults, func.__closure__)
        return func(*args, **(kwargs or {}))

    def _linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if weight is self._weight:
            self._take([x])
        return F.linear(x, weight, bias)
