"""Steps that are judged, where a closure can tell the loss again: predicted against actual.

The same control as in back_projection/optimizer.py: every so many steps the loss of the batch is
computed again after the step. How its decrease compares with the predicted one adapts the bound,
here in units of lr²; only a loss that is not finite, or far above the lowest, returns all
parameters to those last judged good.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from new_algorithm.back_projection.step_control import TrustRegion
from new_algorithm.torch_optimizer.outer_steps import total_inner
from new_algorithm.torch_optimizer.stacks import Part

RandomStates = tuple[Tensor, list[Tensor]]  # of the generators of the CPU and of each GPU


class Judge:
    """control: bound of a step in units of lr², and the factor on all λ_w. rollbacks: so far.
    refused: steps in a row of which a gradient was not finite."""

    PATIENCE = 3  # such steps, after which it is the weights that are to blame, not a batch

    def __init__(self, every: int) -> None:
        # judged steps are no longer than others, lr, and may become as short as in NumPy
        self.control = TrustRegion(bound=1.0, floor=0.1, ceiling=1.0)
        self.every, self.rollbacks, self.refused = every, 0, 0
        self.last_good: list[Tensor] | None = None
        self.last_buffers: dict[str, Tensor] = {}

    def keep(self, parameters: Iterable[Tensor], buffers: Iterable[tuple[str, Tensor]]) -> None:
        """Let these be what to go back to, buffers (such as BatchNorm's averages) by names."""
        self.last_good = [parameter.detach().clone() for parameter in parameters]
        self.last_buffers = {name: buffer.detach().clone() for name, buffer in buffers}

    def keep_new(self, parameters: Iterable[Tensor]) -> None:
        """Also keep parameters that the optimizer did not have before."""
        if self.last_good is not None:
            self.last_good += [parameter.detach().clone() for parameter in parameters]

    def accepts(
        self, predicted: float, before: float, after: float, group: Mapping[str, Any]
    ) -> bool:
        """Adapt the bound, and return whether a step was good, by the batch's loss around it."""
        sign = -1.0 if group["maximize"] else 1.0
        # a schedule scales the step; its peak is what OneCycleLR calls max_lr, others initial_lr
        peak = max(group["lr"], group.get("initial_lr", 0.0), group.get("max_lr", 0.0))
        scale = group["lr"] / peak if peak > 0 else 1.0
        return self.control.judge(predicted, sign * before, sign * after, scale)

    def refuse(self) -> bool:
        """Count a step that cannot be made; whether to go back, where there is something good."""
        self.refused += 1
        return self.last_good is not None and self.refused >= self.PATIENCE

    def go_back(self, parameters: Iterable[Tensor], buffers: Iterable[tuple[str, Tensor]]) -> None:
        """Return to what was kept last, and trust the steps less from now on."""
        assert self.last_good is not None
        for parameter, good in zip(parameters, self.last_good, strict=True):
            parameter.copy_(good)
        for name, buffer in buffers:
            if name in self.last_buffers:
                buffer.copy_(self.last_buffers[name])
        self.control.shrink()
        self.rollbacks, self.refused = self.rollbacks + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """Return numbers and tensors alone, for torch.load(weights_only=True)."""
        numbers = {name: value.item() for name, value in self.control.state_dict().items()}
        counts = {"rollbacks": self.rollbacks, "refused": self.refused}
        kept = {"last_good": self.last_good, "last_buffers": self.last_buffers}
        return counts | kept | {"control": numbers}

    def load_state_dict(self, state: dict[str, Any], parameters: Iterable[Tensor]) -> None:
        self.control.load_state_dict({n: np.array(value) for n, value in state["control"].items()})
        self.rollbacks, self.refused, kept = (
            state[name] for name in ("rollbacks", "refused", "last_good")
        )
        if kept is not None:
            pairs = zip(kept, parameters, strict=True)
            kept = [good.to(like.device, like.dtype, copy=True) for good, like in pairs]
        self.last_good = kept
        self.last_buffers = {name: x.clone() for name, x in state["last_buffers"].items()}


class Promise:
    """How far the loss should fall by a step that is about to be made, to first order."""

    def __init__(
        self,
        parts: Sequence[Part],
        groups: Sequence[Mapping[str, Any]],
        steps: Sequence[Tensor],
        rest: Iterable[Sequence[Tensor]],
    ) -> None:
        moments = [group["lr"] * part.moment for part, group in zip(parts, groups, strict=True)]
        self._of_layers = total_inner(steps, moments)
        self._rest = [
            (parameter, parameter.detach().clone(), parameter.grad.to_dense())
            for parameter in chain.from_iterable(rest)
            if parameter.grad is not None
        ]

    def decrease(self, maximize: bool) -> float:
        """Return Σ <change, −∂loss>, after the step: what AdamW does is known only then."""
        gradients = [gradient if maximize else -gradient for *_, gradient in self._rest]
        changes = [parameter - before for parameter, before, _ in self._rest]
        return self._of_layers + total_inner(changes, gradients)


class Trial:
    """The batch of a closure. loss: what it returns, with gradients; where the step is judged, it
    can be computed again."""

    def __init__(self, closure: Callable[[], Any], is_judged: bool) -> None:
        self._closure, self.is_judged = closure, is_judged
        self._random = random_states() if is_judged else None
        with torch.enable_grad():
            self.loss = closure()

    def again(self, model: nn.Module) -> float:
        """Return the loss with the weights as they are now, and the same random numbers."""
        assert self._random is not None
        with torch.enable_grad(), same_random_numbers(self._random), same_buffers(model):
            return value_of(self._closure())


def value_of(loss: Any) -> float:
    return float(loss.detach() if isinstance(loss, Tensor) else loss)


@contextmanager
def same_buffers(model: nn.Module) -> Iterator[None]:
    """Inside, buffers may change; after it they are what they were."""
    before = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.copy_(value)


def random_states() -> RandomStates:
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return torch.get_rng_state(), gpus


@contextmanager
def same_random_numbers(states: RandomStates) -> Iterator[None]:
    """Inside, generators begin at `states` once more, so that dropout drops the same units."""
    cpu, gpus = states
    with torch.random.fork_rng(devices=range(len(gpus))):
        torch.set_rng_state(cpu)
        for device, state in enumerate(gpus):
            torch.cuda.set_rng_state(state, device)
        yield
