"""Adaptive momentum as it is usually sketched, faults included: what adaptive_adam.py mends.

The idea, as it goes round: Adam is told the loss; where recent losses fall it takes larger steps,
where they rise or scatter smaller ones; where gradients vary much it averages over more of them.
Left open: which losses, which variance, how large, how much. The usual answers, taken here:

1. A factor a step multiplies `lr` itself: a random walk, which noise alone carries off. With as
   many steps up as down it shrinks, since 1.02 · 0.98 < 1; a schedule that sets lr overwrites it.
2. Any slope counts, however small beside the scatter; a scatter is large above a fixed number, so
   that the same training in other units takes other steps.
3. All losses are kept, for ever, and are not in state_dict: a resumed run begins with none.
4. The variance is that of one gradient's entries among each other, which says how unlike the
   parameters are, not how noisy the batches; it is compared with 1, again a matter of units.
5. The average is divided by 1 − β₁ᵗ with the β₁ of the moment, as if it had always been that one.
   A β₁ that rises from .9 to .99 at step 10 makes the average .616/.096 = 6.4 times too large.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

RECENT = 10  # losses
LARGE = 0.1  # variance of them
UP, DOWN = 1.02, 0.98


class AdaptiveAdamSketch(torch.optim.Optimizer):
    """step(closure) wants a closure, for the loss that it returns. betas: β₁ without noise, and
    with much; β₂."""

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        *,
        betas: tuple[float, float, float] = (0.9, 0.99, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps})
        self.losses: list[float] = []

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        if closure is None:
            raise ValueError("AdaptiveAdamSketch.step needs a closure that returns the loss")
        with torch.enable_grad():
            loss = closure()
        self.losses.append(float(loss))
        recent = self.losses[-RECENT:]
        for group in self.param_groups:
            if len(recent) == RECENT:
                slope = np.polyfit(np.arange(RECENT), recent, 1)[0]
                group["lr"] *= UP if slope < 0 and np.var(recent) < LARGE else DOWN
            calm, noisy, beta2 = group["betas"]
            for parameter in group["params"]:
                if (gradient := parameter.grad) is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["step"] = 0
                    state["mean"] = torch.zeros_like(parameter)
                    state["square"] = torch.zeros_like(parameter)
                state["step"] += 1
                variance = gradient.var(correction=0).item()
                beta1 = calm + (noisy - calm) * variance / (1 + variance)
                state["mean"].mul_(beta1).add_(gradient, alpha=1 - beta1)
                state["square"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
                mean = state["mean"] / (1 - beta1 ** state["step"])
                square = state["square"] / (1 - beta2 ** state["step"])
                parameter.addcdiv_(mean, square.sqrt().add_(group["eps"]), value=-group["lr"])
        return loss
