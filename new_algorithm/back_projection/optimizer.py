"""Back projection as an object: one step after another, undone where the loss goes wrong.

An iteration sweeps over its batch (sweep.py), which gives each layer a change δW̃; goes along all
of them by a step size that the predicted decrease of the loss decides (step_control.py), with
momentum. Every `judge_every` iterations the loss of the batch is computed again after the step: how
its decrease compares with the predicted one adapts the step size, and only a loss that is not
finite, or far above the lowest, returns the weights to those last judged good.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.batch import AllSum, Batch
from new_algorithm.back_projection.conjugate_gradients import CGResult
from new_algorithm.back_projection.gram import MANY_IN_A_BATCH
from new_algorithm.back_projection.losses import Loss
from new_algorithm.back_projection.network import RELU_TARGETS, FlatParameters, Target
from new_algorithm.back_projection.outer_steps import OUTER, Orthogonal, Outer
from new_algorithm.back_projection.right_factors import RightFactors
from new_algorithm.back_projection.solvers import LayerSolver
from new_algorithm.back_projection.state import Stateful
from new_algorithm.back_projection.step_control import StepControl
from new_algorithm.back_projection.sweep import NumericalError, Sweep

JUDGE_EVERY = 20  # iterations; a judgement costs one more forward pass, a third of a step
JUDGE_LARGE = 5  # where a pass has fewer than those, of large batches
START_ROWS = 512  # the first of the training set, whose loss tells what harm is
MOST_ROLLBACKS = 30  # in a row; then the training has diverged


def judge_interval(steps_a_pass: int, batch_size: int) -> int:
    """Return the iterations between two judgements: of a short pass every step is judged, but in
    large batches, where a third of a step is much."""
    if steps_a_pass >= JUDGE_EVERY:
        return JUDGE_EVERY
    return 1 if batch_size < MANY_IN_A_BATCH else JUDGE_LARGE


@dataclass(frozen=True, slots=True)
class StepResult:
    """What happened in one iteration, which counts from 0.

    loss: of the batch before the step, where the step was judged or every loss is wanted; and
    predicted_decrease and actual_decrease of it by the step, where it was judged; None elsewhere,
    and where the sweep failed. slope: Σ_l <δW̃_l, M_l>, NaN where the sweep
    failed. step_size: η, of the last sweep that did not fail. solves: of each layer, what conjugate
    gradients came to, None without them. trouble: why the step was taken back, None if it was not.
    """

    iteration: int
    loss: float | None
    slope: float
    step_size: float
    predicted_decrease: float | None
    actual_decrease: float | None
    solves: list[CGResult | None]
    trouble: NumericalError | None


class BackProjection(Stateful):
    """The weights of a network and all that training them remembers.

    weights: W̃_1 … W̃_L, which every step changes in place. iteration: steps so far.
    rollbacks: returns to the last good weights so far, each of which undoes up to `judge_every`
    steps; rollbacks_in_a_row: since the last step that was judged and kept.
    control: step size and damping in force. Its state is everything that later steps depend on;
    loading that of a network of another size or type is a ValueError, and changes nothing.
    """

    remembered = tuple(
        [
            "_parameters",
            "_outer",
            "_last_good",
            "_solvers",
            "_right_factors",
            "control",
            "iteration",
            "rollbacks",
            "rollbacks_in_a_row",
            "_step_size",
        ]
    )

    def __init__(
        self,
        weights: Sequence[NDArray],
        loss: Loss,
        solvers: Sequence[LayerSolver],
        control: StepControl,
        *,
        chunk_rows: int,
        in_chunks: bool = False,
        outer: Outer = "momentum",
        momentum: float = 0.9,
        right_factors: RightFactors | None = None,
        decoupled_decay: float = 0.0,
        target: Target = "mask",
        order: Literal["simultaneous", "sequential"] = "simultaneous",
        pass_down: Literal["whole", "left"] = "whole",
        judge_every: int = JUDGE_EVERY,
        every_loss: bool = False,
        all_sum: AllSum | None = None,
    ) -> None:
        """Begin with copies of `weights`, one solver a layer, the first that of the input layer.

        chunk_rows: of the largest chunk. in_chunks: whether a batch may have several, which rules
        out order="sequential" and pass_down="left", as right_factors and outer="orthogonal" do, and
        target="revive". outer, momentum: what moves the weights (outer_steps.py). right_factors: of
        the layers' own problems. decoupled_decay: α of W ← (1 − s α p) W before each step, biases
        left out, s the schedule's factor and p the share of the loss at the start that is learned
        already. target: the wanted change of Z for one of H, linearised or projected onto h ≥ 0,
        or the latter for units alone that are 0 on the whole batch. order: "simultaneous", all
        layers move after the sweep, or "sequential", each before those below it are solved.
        pass_down: "whole", Δ, or "left", Δ − H̃ δW̃. judge_every: iterations between
        two judgements. every_loss: tell the loss of every batch, not of those alone whose step is
        judged. all_sum: adds up over processes.
        """
        if in_chunks and target == "revive":
            raise ValueError("target='revive' needs batches of one chunk")
        self._parameters = FlatParameters.of(weights)
        self._last_good = FlatParameters.of(weights)
        self._outer = OUTER[outer](self._parameters, momentum, right_factors)
        self._right_factors, self._decoupled_decay = right_factors, decoupled_decay
        self._judge_every, self._every_loss = judge_every, every_loss
        self._solvers, self.control = list(solvers), control
        self._sequential = order == "sequential"
        self.sweep = Sweep(
            self._parameters,
            solvers,
            loss,
            RELU_TARGETS[target],
            chunk_rows=chunk_rows,
            in_chunks=in_chunks,
            pass_residual=pass_down == "left",
            after_layer=self._move if self._sequential else None,
            right_side=self._outer.right_side if isinstance(self._outer, Orthogonal) else None,
            right_factors=right_factors,
            all_sum=all_sum,
        )
        self.iteration = self.rollbacks = self.rollbacks_in_a_row = 0
        # η of the last sweep, by which sequential layers move during the next; 0 in the first
        self._step_size, self._lr_scale = control.step_size(np.inf), 1.0

    @property
    def weights(self) -> list[NDArray]:
        return self._parameters.matrices

    @np.errstate(over="ignore", invalid="ignore")  # the sweep raises NumericalError
    def step(self, batch: Batch, lr_scale: float = 1.0) -> StepResult:
        """Make one iteration over `batch`; lr_scale in [0, 1] is the schedule's factor."""
        iteration, control, sweep = self.iteration, self.control, self.sweep
        judged = iteration % self._judge_every == 0
        before = predicted = actual = trouble = None
        try:
            self._lr_scale = lr_scale
            with_loss = judged or self._every_loss
            before = sweep(self.weights, batch, control.damping, with_loss=with_loss)
            self._step_size = control.step_size(sweep.slope)
            if not self._sequential:
                self._move()
            if judged and before is not None:
                # W̃ moves by lr_scale · D, along which the loss should fall at the rate <D, M>
                predicted = lr_scale * self._outer.direction.inner(sweep.moments)
                after = sweep.loss(self.weights, batch)
                actual = before - after
                if not control.judge(predicted, before, after, lr_scale):
                    raise NumericalError(
                        self._layer_moved_furthest(),
                        "moved furthest for its size where the loss of the batch went from "
                        f"{before:.4g} to {after:.4g}",
                    )
                self.snapshot()
        except NumericalError as error:
            trouble = error
            self.rollback()
        self.iteration += 1
        decreases = predicted, actual
        return StepResult(
            iteration, before, sweep.slope, self._step_size, *decreases, sweep.solves, trouble
        )

    def _move(self, layer: int | None = None) -> None:
        """Move all layers, or one alone in the middle of a sweep."""
        self._outer.update(self.sweep.changes, self._step_size, layer)
        moved = range(len(self.weights)) if layer is None else [layer]
        if decay := self._lr_scale * self._decoupled_decay * self.control.watch.learned:
            for one in moved:
                self._solvers[one].subtract_features(self.weights[one], self.weights[one], decay)
        stacks = self._parameters, self._outer.direction
        weights, direction = (s if layer is None else s.part(layer) for s in stacks)
        weights.add(self._lr_scale, direction)

    @property
    def judgements(self) -> int:
        """Steps so far after which the loss was to be judged."""
        return -(-self.iteration // self._judge_every)

    def snapshot(self) -> None:
        """Let these be the weights to go back to."""
        self._last_good.flat[:] = self._parameters.flat
        self.rollbacks_in_a_row = 0

    def rollback(self) -> None:
        """Return to the last good weights, at rest, and trust the steps less from now on."""
        self._parameters.flat[:] = self._last_good.flat
        self._outer.forget()
        self.sweep.forget()
        self.control.shrink()
        self.rollbacks += 1
        self.rollbacks_in_a_row += 1

    def rotate_input(self, rotation: NDArray) -> None:
        """Take the input layer to the coordinates of another basis: W̃_1 ← rotation (d, d) W̃_1."""
        for stack in (self._parameters, self._last_good):
            stack.matrices[0][:] = rotation @ stack.matrices[0]
        self._outer.rotate_input(rotation)

    def _layer_moved_furthest(self) -> int:
        """Return the layer, from 1, whose step is the largest beside its weights."""
        pairs = zip(self._outer.direction.matrices, self.weights, strict=True)
        ratios = [np.linalg.norm(d) / max(float(np.linalg.norm(w)), 1e-30) for d, w in pairs]
        return int(np.argmax(ratios)) + 1
