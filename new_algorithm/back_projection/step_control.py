"""How far to go along a sweep's weight changes, in place of a step size that must be tuned.

The sweep's changes δW̃ promise that the loss falls at the rate s = Σ_l <δW̃_l, M_l>. In the metric
in which the layers' problems are least squares, η δW̃ has the squared length η² s. The step is the
one of squared length `bound`,

    η = min(longest, √(bound / s)),

so that a network of any depth, whose layers all answer for the same residual, changes its outputs
by a like amount in every iteration: the norm constraint that is used with Kronecker-factored
natural gradients (Ba, Grosse and Martens 2017), here with one-sided curvature. For finite λ_h
passed down, where Δ − H̃ δW̃ is, or where dead units are asked to revive, M is not the gradient, and
s is a promise in a looser sense.

`longest` is 1, the layer's own solution, where the loss is the squared one: along it the loss then
curves as (P) does, and nothing lies beyond. Other losses curve less, and the less the more is
learned already (softmax: diag(p) − ppᵀ, which goes to 0 as p goes to a label), while M and with it
δW̃ vanish; there 1 ends most trainings in batches of many rows long before their minimum
(notebook, The longest step), and ∞ leaves the length to the bound alone. In small batches 1 also
keeps noise small, which a step of constant length would not.

Whether that amount was right is then measured. Along a step that promised to lower the loss by p
and lowered it by a, a parabola has a/p = 1 where it is straight, 1/2 at its minimum and 0 where
nothing is gained. The shortfall 1 − a/p grows with the step's length, so that of a step scaled by
the schedule it is divided by that scale. The logarithm of the bound follows it with a small
constant gain, as in stochastic approximation.
"""

from dataclasses import dataclass, field

import numpy as np

from new_algorithm.back_projection.state import State, Stateful

STEP_BOUNDS = 1e-3, 2e-2  # squared length of a controlled step


@dataclass
class LossWatch(Stateful):
    """Whether a step did harm, by the losses of the batches that are judged.

    With r = `worst_rise` times the size of the loss at the `start`, or of the first batch, and the
    lowest smoothed loss so far, a step did harm if the loss after it is not finite; if it is above
    before + r and above lowest + r; or if the smoothed loss is above lowest + r, harm that was done
    between two judgements. `smoothing` is what the average keeps from batch to batch.
    """

    start: float | None = None
    worst_rise: float = 0.5
    smoothing: float = 0.9
    _smoothed: float | None = None
    _lowest: float = 0.0

    @property
    def learned(self) -> float:
        """The share of the loss at the start that the smoothed loss has lost, in [0, 1]."""
        if self._smoothed is None or not self.start:
            return 0.0
        return float(np.clip(1 - self._smoothed / self.start, 0, 1))

    def accepts(self, before: float, after: float) -> bool:
        """Take in the loss of a batch before and after a step; False if the step did harm."""
        if not np.isfinite(before + after):
            return False
        if self.start is None:
            self.start = before
        if self._smoothed is None:
            self._smoothed = self._lowest = self.start
        too_much = self.worst_rise * abs(self.start)
        worst = self._lowest + too_much
        smoothed = self._smoothed + (1 - self.smoothing) * (after - self._smoothed)
        rose = after - before > too_much and after > worst
        if rose or smoothed > worst:
            return False  # the weights go back, and the smoothed loss stays what it was there
        self._smoothed = smoothed
        self._lowest = min(self._lowest, smoothed)
        return True


@dataclass(kw_only=True)
class StepControl(Stateful):
    """damping: factor ≥ 1 on all λ_w. A step taken back multiplies it by `caution`."""

    damping: float = 1.0
    caution: float = 4.0
    watch: LossWatch = field(default_factory=LossWatch)

    def step_size(self, slope: float) -> float:
        """Return η for the rate s."""
        raise NotImplementedError

    def judge(self, predicted: float, before: float, after: float, lr_scale: float) -> bool:
        """Learn from a step; return whether to keep it.

        predicted: how far the loss of the batch should have fallen from `before`, where it came to
        `after`. lr_scale: in (0, 1], by which the schedule scaled the step.
        """
        return self.watch.accepts(before, after)

    def shrink(self) -> None:
        """Trust the steps less, after one that had to be taken back."""
        self.damping *= self.caution

    def numbers(self) -> dict[str, float]:
        """Return what is in force, to be recorded."""
        return {"damping": self.damping}


@dataclass
class FixedStep(StepControl):
    """The same η in every iteration."""

    eta: float

    def step_size(self, slope: float) -> float:
        return self.eta


@dataclass
class TrustRegion(StepControl):
    """bound: squared length of a full step, which a step taken back divides by `caution`.
    longest: η at most.

    Constants, measured on MNIST at 2 to 100 layers (notebook): `floor` and `ceiling` of the bound,
    the latter because beyond it the noise of small batches costs more than speed gains;
    `wanted_shortfall` of a full step; `gain`; `least_scale` of a step whose shortfall says
    something. With every judged step that is kept the damping shrinks again by `recovery`.
    """

    bound: float = STEP_BOUNDS[0]
    floor: float = STEP_BOUNDS[0]
    ceiling: float = STEP_BOUNDS[1]
    wanted_shortfall: float = 0.7
    gain: float = 0.3
    least_scale: float = 0.02
    recovery: float = 0.9
    longest: float = 1.0

    def step_size(self, slope: float) -> float:
        """Return η for the rate s; 0 where nothing is promised."""
        return min(self.longest, float(np.sqrt(self.bound / slope))) if slope > 0 else 0.0

    def judge(self, predicted: float, before: float, after: float, lr_scale: float) -> bool:
        if not super().judge(predicted, before, after, lr_scale):
            return False
        if predicted > 0 and lr_scale >= self.least_scale:
            shortfall = (1 - (before - after) / predicted) / lr_scale
            surplus = float(np.clip(1 - shortfall / self.wanted_shortfall, -1, 1))
            bound = self.bound * float(np.exp(self.gain * surplus))
            if surplus > 0 or bound >= self.floor:  # below it, after a rollback, it only rises
                self.bound = min(self.ceiling, bound)
        self.damping = max(1.0, self.recovery * self.damping)
        return True

    def shrink(self) -> None:
        super().shrink()
        self.bound /= self.caution

    def numbers(self) -> dict[str, float]:
        return super().numbers() | {"step_bound": self.bound}

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict({"longest": np.array(1.0)} | state)  # older states have no other


def control_of_steps(
    start: float,
    bounds: tuple[float, float] = STEP_BOUNDS,
    fixed: float | None = None,
    longest: float = 1.0,
) -> StepControl:
    """Return what decides on step sizes, for a training that starts with the loss `start`.

    A start that is not finite leaves it to the first batch that is judged. bounds: of a controlled
    step, at first and at least, and at most; longest: η of one at most. fixed: η, where steps are
    not controlled.
    """
    watch = LossWatch(start if np.isfinite(start) else None)
    if fixed is not None:
        return FixedStep(fixed, watch=watch)
    least, most = bounds
    return TrustRegion(bound=least, floor=least, ceiling=most, longest=longest, watch=watch)
