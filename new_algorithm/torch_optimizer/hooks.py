"""Forward hooks that show an optimizer what the layers of its model are given.

What a call shows counts when the gradient of its output arrives: so rows count as often as their
gradients do, whatever becomes of the passes of evaluation, of checkpointing, or of batches that are
left out.
"""

from collections.abc import Callable, Sequence
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode

from new_algorithm.torch_optimizer.layers import Layer
from new_algorithm.torch_optimizer.statistics import Key

if TYPE_CHECKING:
    from new_algorithm.torch_optimizer.watches import Watches

Inputs = Sequence[Any]  # of one call: tensors, but for subclasses that take something else
GIVEN_TO_ATTENTION = ("query", "key", "value")


class Watch:
    """The hooks of one module. They hold the watches weakly, and can be copied and pickled with the
    model. Those of a copy, or of an optimizer that is no more, remove themselves when called."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = list(layers)
        self.owner: Callable[[], Watches | None] = _nobody
        self._modes: list[_InputsOf] = []
        self._handles: list[Any] = []

    def turn_to(self, layers: Sequence[Layer]) -> None:
        """Watch these layers, of which those with weights that are known stay as they are."""
        known = {layer.weight: layer for layer in self.layers}
        self.layers = [known.get(layer.weight, layer) for layer in layers]

    def attach(self, module: nn.Module) -> None:
        if isinstance(module, nn.MultiheadAttention):
            self._handles = [
                module.register_forward_pre_hook(self.before_attention),
                module.register_forward_hook(
                    self.after_attention, with_kwargs=True, always_call=True
                ),
            ]
        else:
            self._handles = [module.register_forward_hook(self.after, with_kwargs=True)]

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()

    @torch.compiler.disable
    def after(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        inputs = (args or tuple(kwargs.values()))[:1]
        has_outputs = not isinstance(module, nn.Embedding)
        self._show([(layer, inputs) for layer in self.layers], output, has_outputs)

    @torch.compiler.disable
    def before_attention(self, module: nn.MultiheadAttention, args: tuple[Any, ...]) -> None:
        owner = self.owner()
        last = [layer for layer in self.layers if layer.weight is module.out_proj.weight]
        if owner is not None and torch.is_grad_enabled() and any(map(owner.wants, last)):
            self._modes.append(_InputsOf(module.out_proj.weight))
            self._modes[-1].__enter__()

    @torch.compiler.disable
    def after_attention(
        self,
        module: nn.MultiheadAttention,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        output: Any,
    ) -> None:
        to_last: Inputs = ()
        if self._modes:
            mode = self._modes.pop()
            mode.__exit__(None, None, None)
            to_last = mode.inputs
        given = dict(zip(GIVEN_TO_ATTENTION, args, strict=False)) | kwargs
        first = [given.get(name) for name in GIVEN_TO_ATTENTION]
        last = module.out_proj.weight
        calls = [(x, to_last if x.weight is last else first) for x in self.layers]
        self._show(calls, output, has_outputs=False)

    def _show(self, calls: Sequence[tuple[Layer, Inputs]], output: Any, has_outputs: bool) -> None:
        """Look at what layers are given in one call, to be counted when its gradient arrives.

        has_outputs: whether that gradient is the layer's own.
        """
        owner = self.owner()
        if owner is None:
            self.detach()
            return
        z = output[0] if isinstance(output, tuple) and output else output
        if not isinstance(z, Tensor) or not z.requires_grad or torch.compiler.is_exporting():
            return
        wanted = [(layer, inputs) for layer, inputs in calls if owner.wants(layer)]
        if not wanted:
            return
        with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
            shown = [one for layer, inputs in wanted for one in owner.look(layer, inputs)]
        outputs = [x for x, _ in wanted if has_outputs and owner.wants_output(x)]
        if shown or outputs:
            z.register_hook(partial(self._arrives, shown, outputs))

    @torch.compiler.disable
    def _arrives(
        self, shown: Sequence[tuple[Key, Tensor]], outputs: Sequence[Layer], gradient: Tensor
    ) -> None:
        """From within a backward pass."""
        owner = self.owner()
        if owner is not None:
            with torch.no_grad(), torch.autocast(gradient.device.type, enabled=False):
                owner.count(shown)
                for layer in outputs:
                    owner.see_output(layer, gradient)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"owner": _nobody, "_modes": []}


def _nobody() -> None:
    return None


class _InputsOf(TorchFunctionMode):
    """Inside, `inputs` become what nn.MultiheadAttention multiplies by the weight of its last
    projection: it hands it to a function, and never calls the module."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self._weight = weight
        self.inputs: Inputs = ()

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
            self.inputs = (x,)
        return F.linear(x, weight, bias)
