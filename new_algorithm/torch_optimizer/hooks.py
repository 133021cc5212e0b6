"""Forward hooks that show an optimizer what the layers of its model are given."""

from collections.abc import Callable, Sequence
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode

from new_algorithm.torch_optimizer.layers import Layer

if TYPE_CHECKING:
    from new_algorithm.torch_optimizer.watches import Watches


class Watch:
    """The hooks of one module. They hold the watches weakly, and can be copied and pickled with the
    model: a copy is silent until it is adopted."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = list(layers)
        self.owner: Callable[[], Watches | None] = _nobody
        self._modes: list[TorchFunctionMode] = []
        self._handles: list[Any] = []

    def turn_to(self, layers: Sequence[Layer]) -> None:
        """Watch these layers, of which those with weights that are known stay as they are."""
        known = {layer.weight: layer for layer in self.layers}
        self.layers = [known.get(layer.weight, layer) for layer in layers]

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
        owner = self.owner()
        if owner is None or not torch.is_grad_enabled():
            return
        wanted = [layer for layer in self.layers if owner.wants(layer)]
        if not isinstance(module, nn.MultiheadAttention):
            for layer in wanted:
                self._show(layer, (args or tuple(kwargs.values()))[:1])
            return
        given = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
        for layer in wanted:
            if layer.weight is module.out_proj.weight:
                self._modes.append(_InputsOf(layer.weight, partial(self._show_later, layer)))
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
                output.register_hook(partial(self._show_later, layer, what="see_output"))

    @torch.compiler.disable
    def _show_later(self, layer: Layer, tensors: Any, what: str = "see") -> None:
        """From within a forward or backward pass."""
        self._show(layer, tensors, what)

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
