"""Adam whose rate answers to recent losses, and whose β₁ to the noise of the gradients.

Three rules, each bounded, each blind to the scales of loss and gradients, none with a memory beyond
its window or its averages:

- The step is lr · f, f = range^e with e in [−1, 1]. e is the evidence of the last WINDOW losses:
  up where their trend is down, down where it is up or where they scatter more than before; 0
  unless that is significant. f is made anew at every step and `lr` never written, so that noise
  cannot carry it away, and schedules go on working.
- β₁ is the least whose average has no more noise than signal. With independent gradients of mean
  μ and variance σ² an exponential average has the noise σ² (1 − β)/(1 + β): no more than |μ|² if
  β ≥ (σ² − |μ|²)/(σ² + |μ|²) = 1 − 2 |μ|²/E|g|². E g·m̂ with the average m̂ of the gradients before
  g is |μ|² without bias, since other batches are independent of this one's.
- Adam's correction 1 − β₁ᵗ holds for a constant β₁ alone. The average is divided by its sum of
  weights, w ← β₁ w + 1 − β₁, which is 1 − Π β₁: whatever β₁ was, constant gradients are their own
  average.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

WINDOW = 32  # losses
FEWEST = 4  # of which a trend can be told: two more than a line has parameters
SIGNIFICANT = 2.0  # standard deviations where evidence starts; at twice that it is complete
AVERAGED = 0.98  # of signal and power, a step: over some 50 gradients


class AdaptiveAdam(torch.optim.Optimizer):
    """step(closure) wants a closure, for the loss that it returns; Adam of torch otherwise.

    lr: of a schedule, as usual. rate_range: the rate is at most this many times lr, at least lr
    divided by it; 1 leaves it alone. momenta: the bounds of β₁, one for each parameter; equal ones
    fix it. beta2, eps: Adam's.

    Beside Adam's averages the state is four numbers a parameter and WINDOW losses; all of it is in
    state_dict. A loss that is not finite is not taken for evidence.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        *,
        rate_range: float = 2.0,
        momenta: tuple[float, float] = (0.5, 0.9),
        beta2: float = 0.999,
        eps: float = 1e-8,
    ) -> None:
        least, most = momenta
        if not 0 <= least <= most < 1:
            raise ValueError(f"momenta {momenta}: give 0 ≤ least ≤ most < 1")
        if rate_range < 1:
            raise ValueError(f"rate_range {rate_range}: give 1 or more")
        options = {"lr": lr, "momenta": momenta, "beta2": beta2, "eps": eps}
        super().__init__(parameters, options | {"rate_range": rate_range})
        self.state["losses"] = []  # type: ignore[index]  # torch keeps other keys than parameters

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        if closure is None:
            raise ValueError("AdaptiveAdam.step needs a closure that returns the loss")
        with torch.enable_grad():
            loss = closure()
        seen = self.state["losses"]  # type: ignore[index]
        if math.isfinite(value := float(loss)):
            seen = [*seen, value][-WINDOW:]  # another list: a state_dict may hold this one
        self.state["losses"] = seen  # type: ignore[index]
        e = evidence(seen)
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._move(parameters, group, group["lr"] * group["rate_range"] ** e)
        return loss

    def _move(self, parameters: list[Tensor], group: dict[str, Any], rate: float) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        states = [self._state(p) for p in parameters]
        means = [state["mean"] for state in states]
        squares = [state["square"] for state in states]
        if group["momenta"][0] < group["momenta"][1]:
            _measure_noise(states, gradients, means)
        momenta = [_momentum(state, *group["momenta"]) for state in states]
        beta2 = group["beta2"]
        torch._foreach_lerp_(means, gradients, [1 - momentum for momentum in momenta])
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        # (m/w) / (√(v/c²) + ε) = (m c/w) / (√v + c ε), with c² = 1 − β₂ᵗ
        scales, corrections = [], []
        for state, momentum in zip(states, momenta, strict=True):
            state["step"] += 1
            state["weight"] = momentum * state["weight"] + 1 - momentum
            corrections.append(math.sqrt(1 - beta2 ** state["step"]))
            scales.append(-rate * corrections[-1] / state["weight"])
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, [group["eps"] * correction for correction in corrections])
        torch._foreach_addcdiv_(parameters, means, roots, scales)

    def _state(self, parameter: Tensor) -> dict[str, Any]:
        state = self.state[parameter]
        if not state:
            for name in ("mean", "square"):
                state[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            state |= {"step": 0, "weight": 0.0, "signal": 0.0, "power": 0.0}
        return state


def _measure_noise(
    states: list[dict[str, Any]], gradients: list[Tensor], means: list[Tensor]
) -> None:
    """Average g·m̂ and |g|² of each parameter, in one transfer from the device."""
    products = [torch.dot(g.flatten(), m.flatten()) for g, m in zip(gradients, means, strict=True)]
    norms = torch._foreach_norm(gradients)
    signals, powers = torch.stack([*products, *norms]).view(2, -1).tolist()
    for state, signal, norm in zip(states, signals, powers, strict=True):
        if state["step"] == 0:
            continue  # nothing came before
        state["signal"] += (1 - AVERAGED) * (signal / state["weight"] - state["signal"])
        state["power"] += (1 - AVERAGED) * (norm**2 - state["power"])


def _momentum(state: dict[str, Any], least: float, most: float) -> float:
    """1 − 2 |μ|²/E|g|² within the bounds; the larger bound where nothing is known."""
    if state["power"] == 0:
        return most
    return min(max(1 - 2 * state["signal"] / state["power"], least), most)


def evidence(losses: Sequence[float]) -> float:
    """In [−1, 1], for a larger rate above 0: what the losses' trend and variance say.

    Trend: the correlation r of n losses with time, as standard deviations of a normal variable.
    For Student's t of d = n − 2 degrees of freedom, t²/d = r²/(1 − r²), these are about
    (8d + 1)/(8d + 3) √(d log(1 + t²/d)) (Wallace 1959). Variance: log F, of the ratio of the
    variances about their own lines of the later half and the earlier, each of d degrees of
    freedom; its standard deviation is about 2/√(d − 1). Only an increase counts.
    """
    n = len(losses)
    if n < FEWEST:
        return 0.0
    slope, explained, total = _line(losses)
    if not total > 0:
        return 0.0
    d = n - 2
    z = (8 * d + 1) / (8 * d + 3) * math.sqrt(-d * math.log1p(-explained))
    found = -math.copysign(_significant(z), slope)
    if (d := n // 2 - 2) > 1:
        earlier, later = map(_scatter, (losses[: n // 2], losses[-(n // 2) :]))
        if earlier > 0 and later > 0:
            found -= _significant(math.log(later / earlier) * math.sqrt(d - 1) / 2)
    return max(found, -1.0)


def _line(losses: Sequence[float]) -> tuple[float, float, float]:
    """Of a line through n values: its slope, up to a positive factor; r²; Σ (value − mean)²."""
    n = len(losses)
    mean = sum(losses) / n
    total = sum((loss - mean) ** 2 for loss in losses)
    slope = sum((i - (n - 1) / 2) * loss for i, loss in enumerate(losses))
    if not total > 0:
        return slope, 0.0, 0.0
    # Σ (i − mean)² = n (n² − 1)/12; r² of a line without scatter is 1, whose logarithm is not taken
    return slope, min(12 * slope**2 / (n * (n**2 - 1) * total), 1 - 1e-15), total


def _scatter(losses: Sequence[float]) -> float:
    """The sum of the squared distances from a line through them."""
    _, explained, total = _line(losses)
    return total * (1 - explained)


def _significant(z: float) -> float:
    """0 up to SIGNIFICANT standard deviations, 1 from twice as many."""
    return min(max(z / SIGNIFICANT - 1, 0.0), 1.0)
