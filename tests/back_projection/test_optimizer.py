"""The iterations of back projection against the reference's, and the way back from harm."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from new_algorithm.back_projection import reference
from new_algorithm.back_projection.batch import AllSum
from new_algorithm.back_projection.network import append_ones
from new_algorithm.back_projection.optimizer import BackProjection, StepResult
from new_algorithm.back_projection.reference import ReferenceBackProjection
from new_algorithm.back_projection.schedule import warm_up_and_decay
from new_algorithm.back_projection.solvers import (
    EigenbasisSolver,
    FactoredSolver,
    GradientSolver,
    Penalties,
)
from new_algorithm.back_projection.step_control import (
    FixedStep,
    LossWatch,
    StepControl,
    TrustRegion,
)
from tests.back_projection.problems import (
    Problem,
    assert_near,
    factored,
    gradient,
    in_processes,
    problem,
)

LAMBDA_W = (0.5, 0.2, 0.3)
STEPS = 20


@dataclass(frozen=True)
class Scenario:
    """control: makes what decides on step sizes. options: of the reference."""

    control: Callable[[], StepControl]
    rollbacks: int
    options: dict = field(default_factory=dict)
    schedule: Callable[[int], float] = lambda iteration: 1.0
    loss: str = "softmax"

    def reference(self, made: Problem, **options) -> ReferenceBackProjection:
        return ReferenceBackProjection(
            made.weights, made.loss, LAMBDA_W, self.control(), **self.options | options
        )

    def optimizer(self, made: Problem, first=None, **options) -> BackProjection:
        memory = {"decay": self.options.get("gram_decay", 0.0)}
        memory |= {name: self.options.get(name, 1) for name in ("gram_every", "factor_every")}
        solvers = [factored(Penalties(w), **memory) for w in LAMBDA_W]
        return BackProjection(
            made.weights,
            made.loss,
            solvers if first is None else [first, *solvers[1:]],
            self.control(),
            chunk_rows=made.rows,
            momentum=self.options["momentum"],
            judge_every=self.options.get("judge_every", 1),
            **options,
        )


def careful(**settings: float) -> TrustRegion:
    return TrustRegion(**{"bound": 3e-3, "ceiling": 0.05} | settings)


HEAVY = {"momentum": 0.9}
MEMORY = {"gram_decay": 0.8, "gram_every": 2, "factor_every": 3}
SCENARIOS = {
    "plain": Scenario(careful, 0, {"momentum": 0.0}),
    "momentum": Scenario(careful, 0, HEAVY),
    "schedule": Scenario(careful, 0, HEAVY, lambda i: warm_up_and_decay(i, STEPS, 0.3)),
    "memory": Scenario(careful, 0, HEAVY | MEMORY | {"judge_every": 4}),
    "squared, fixed step": Scenario(lambda: FixedStep(0.1), 0, HEAVY, loss="squared"),
    "far too long a step": Scenario(lambda: FixedStep(30.0), 4, {"momentum": 0.5}),
    "far too long, with memory": Scenario(lambda: FixedStep(30.0), 3, {"momentum": 0.5} | MEMORY),
    "too long, judged rarely": Scenario(
        lambda: TrustRegion(bound=40.0, ceiling=50.0, watch=LossWatch(worst_rise=0.1)),
        1,
        HEAVY | MEMORY | {"judge_every": 3},
    ),
    "loss that rises": Scenario(
        lambda: careful(bound=0.02, watch=LossWatch(worst_rise=0.02)), 4, HEAVY | MEMORY
    ),
}


def minibatches(loss: str) -> Iterator[Problem]:
    """Batches of the same network, drawn anew for each iteration."""
    return (problem(loss=loss, rows=25, seed=seed) for seed in range(STEPS))


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("in_chunks", [False, True])
def test_iterations_are_those_of_the_reference(name, in_chunks):
    scenario = SCENARIOS[name]
    made = problem(loss=scenario.loss, rows=25)
    theirs, ours = scenario.reference(made), scenario.optimizer(made, in_chunks=in_chunks)
    dampings = []
    for iteration, batch in enumerate(minibatches(scenario.loss)):
        scale = scenario.schedule(iteration)
        kept = theirs.step(batch.inputs, batch.targets, scale)
        result = ours.step(batch.chunks([9] if in_chunks else []), scale)
        assert (result.trouble is None) == kept, iteration
        for pair in zip(ours.weights, theirs.weights, strict=True):
            assert_near(*pair, 1e-8)
        assert ours.control.numbers() == pytest.approx(theirs.control.numbers(), rel=1e-7)
        dampings.append(ours.control.damping)
    assert ours.iteration == STEPS
    assert scenario.rollbacks <= ours.rollbacks < STEPS / 2, "or it shows nothing"
    if scenario.rollbacks and isinstance(ours.control, TrustRegion):
        assert dampings[-1] < max(dampings), "it has recovered in part"


@pytest.mark.parametrize("name", ["memory", "far too long, with memory", "loss that rises"])
def test_input_layer_in_its_eigenbasis_makes_the_same_steps(name):
    scenario, made = SCENARIOS[name], problem(rows=25)
    basis, in_basis = made.in_eigenbasis()
    first = EigenbasisSolver(basis, Penalties(LAMBDA_W[0]))
    theirs, ours = scenario.reference(made), scenario.optimizer(in_basis, first)
    for _ in range(STEPS):
        theirs.step(made.inputs, made.targets)
        ours.step(in_basis.chunks())
        for pair in zip(basis.on_features(ours.weights), theirs.weights, strict=True):
            assert_near(*pair, 1e-8)


def test_reviving_needs_whole_batches():
    scenario, made = SCENARIOS["plain"], problem(rows=25)
    with pytest.raises(ValueError, match="one chunk"):
        scenario.optimizer(made, in_chunks=True, target="revive")


def test_processes_make_the_steps_of_one():
    scenario, made = SCENARIOS["loss that rises"], problem(rows=25)

    def work(rank: int, all_sum: AllSum | None) -> tuple[list[NDArray], list[str | None]]:
        optimizer, troubles = scenario.optimizer(made, in_chunks=True, all_sum=all_sum), []
        for batch in minibatches("softmax"):
            shard = batch.chunks(last=8) if rank == 0 else batch.chunks([17], first=8)
            trouble = optimizer.step(batch.chunks() if all_sum is None else shard).trouble
            troubles.append(trouble and str(trouble))
        return optimizer.weights, troubles

    alone, (first, second) = work(0, None), in_processes(2, work)
    assert alone[1] == first[1] == second[1]
    for pair in zip(first[0], alone[0], strict=True):
        assert_near(*pair, 1e-8)
    for pair in zip(first[0], second[0], strict=True):
        np.testing.assert_array_equal(*pair)


# One step at a time.


def optimizer(
    made: Problem, control: StepControl | None = None, solver=gradient, lambda_w=(1,) * 3, **options
) -> BackProjection:
    solvers = [solver(Penalties(w)) for w in lambda_w]
    defaults = {"chunk_rows": made.rows, "momentum": 0.9, "judge_every": 1}
    control = control or FixedStep(0.1)
    return BackProjection(made.weights, made.loss, solvers, control, **defaults | options)


@pytest.mark.parametrize("target", ["mask", "project"])
@pytest.mark.parametrize("pass_down", ["whole", "left"])
@pytest.mark.parametrize("lambda_h", [0.5, np.inf])
def test_options_of_a_step_are_those_of_the_reference_sweep(target, pass_down, lambda_h):
    made, control = problem(), FixedStep(0.01)
    solvers = [factored(Penalties(w, lambda_h)) for w in LAMBDA_W]
    options = {"chunk_rows": made.rows, "target": target, "pass_down": pass_down}
    ours = BackProjection(made.weights, made.loss, solvers, control, **options)
    result = ours.step(made.chunks())
    steps = reference.sweep(
        made.weights,
        made.inputs,
        made.residual,
        [(w, lambda_h) for w in LAMBDA_W],
        reference.RELU_TARGETS[target],
        pass_residual=pass_down == "left",
    )
    for found, weight, step in zip(ours.weights, made.weights, steps, strict=True):
        assert_near(found, weight + 0.01 * step.change, 1e-12)
    slope = sum(np.vdot(step.change, step.moment) for step in steps)
    assert result == StepResult(
        iteration=0,
        loss=pytest.approx(made.loss_of(made.weights), rel=1e-12),
        slope=pytest.approx(slope),
        step_size=0.01,
        predicted_decrease=pytest.approx(0.01 * slope),
        actual_decrease=pytest.approx(made.loss_of(made.weights) - made.loss_of(ours.weights)),
        solves=[None] * 3,
        trouble=None,
    )


def test_sequential_order_changes_each_layer_before_those_below_it():
    made, eta, mu, scale = problem(), 0.3, 0.5, 0.7
    ours = optimizer(
        made, FixedStep(eta), factored, LAMBDA_W, momentum=mu, order="sequential", pass_down="left"
    )
    weights = [weight.copy() for weight in made.weights]
    velocity = [np.zeros_like(weight) for weight in weights]

    def change(index: int, by: NDArray) -> None:
        velocity[index] = mu * velocity[index] + eta * by
        weights[index] += scale * velocity[index]

    for _ in range(4):
        residual = replace(made, weights=weights).residual
        penalties = [(w, np.inf) for w in LAMBDA_W]
        reference.sweep(weights, made.inputs, residual, penalties, after_layer=change)
        assert ours.step(made.chunks(), scale).trouble is None
        for pair in zip(ours.weights, weights, strict=True):
            assert_near(*pair)


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_predicted_decrease_counts_the_momentum_and_the_schedule(scale):
    """A short step lowers the loss by as much as it promised, the velocity's part included."""
    made = problem()
    ours = optimizer(made, FixedStep(1e-5), factored)
    for iteration in range(6):
        result = ours.step(made.chunks(), scale)
        assert result.actual_decrease == pytest.approx(result.predicted_decrease, rel=1e-2)
        without = scale * result.step_size * result.slope
        of_momentum = sum(0.9**k for k in range(iteration + 1))  # of the same gradient, nearly
        assert result.predicted_decrease / without == pytest.approx(of_momentum, rel=1e-2)


class Verdicts(FixedStep):
    """Keeps the steps that it is given True for."""

    def __init__(self, *verdicts: bool, eta: float = 0.1) -> None:
        super().__init__(eta)
        self._verdicts = iter(verdicts)

    def judge(self, predicted, before, after, scale) -> bool:
        return next(self._verdicts)


def test_rollback_returns_to_the_last_kept_weights_and_damps_more():
    made = problem()
    ours = optimizer(made, Verdicts(False, False, True, False, True, True))
    good, counts, dampings = [weight.copy() for weight in made.weights], [], []
    for kept in (False, False, True, False, True, True):
        result = ours.step(made.chunks())
        assert (result.trouble is None) == kept
        counts.append((ours.rollbacks, ours.rollbacks_in_a_row))
        dampings.append(ours.control.damping)
        if kept:
            good = [weight.copy() for weight in ours.weights]
        for pair in zip(ours.weights, good, strict=True):
            np.testing.assert_array_equal(*pair)
    assert counts == [(1, 1), (2, 2), (2, 0), (3, 1), (3, 0), (3, 0)]
    assert dampings == [4, 16, 16, 64, 64, 64]


def averaged(penalties: Penalties) -> FactoredSolver:
    return factored(penalties, 0.9)


def test_velocity_is_at_rest_and_solvers_forget_after_a_rollback():
    made = problem()
    old = optimizer(made, Verdicts(True, False, True), averaged)
    for seed in (1, 2):
        old.step(problem(seed=seed).chunks())
    fresh = optimizer(replace(made, weights=old.weights), Verdicts(True), averaged)
    fresh.control.damping = old.control.damping
    for each in (old, fresh):
        each.step(made.chunks())
    for pair in zip(old.weights, fresh.weights, strict=True):
        assert_near(*pair, 1e-12)


def test_steps_are_judged_in_every_twentieth_iteration():
    made = problem((3, 2, 2), rows=6)
    ours = BackProjection(
        made.weights, made.loss, [gradient(Penalties(1.0))] * 2, TrustRegion(), chunk_rows=made.rows
    )
    results = [ours.step(made.chunks()) for _ in range(45)]
    judged = [result.iteration for result in results if result.loss is not None]
    assert judged == [0, 20, 40]
    for result in results:
        assert (result.predicted_decrease is None) == (result.actual_decrease is None)
        assert (result.loss is None) == (result.actual_decrease is None)


def test_harm_between_two_judgements_is_taken_back_at_the_next():
    made = problem()
    ours = optimizer(made, Verdicts(True, False), judge_every=3)
    ours.step(made.chunks())
    good = [weight.copy() for weight in ours.weights]
    for _ in range(2):
        ours.step(made.chunks())
        assert any((a != b).any() for a, b in zip(ours.weights, good, strict=True))
    assert ours.step(made.chunks()).trouble is not None
    for pair in zip(ours.weights, good, strict=True):
        np.testing.assert_array_equal(*pair)


class FailsOnce(GradientSolver):
    """In the second iteration."""

    begun = 0

    def begin(self, weight, damping):
        self.begun += 1
        return super().begin(weight, damping)

    def solve(self, inputs, weight, moment, out) -> None:
        if self.begun == 2:
            raise np.linalg.LinAlgError("cannot be solved")
        super().solve(inputs, weight, moment, out)


def test_sweep_that_fails_is_taken_back_and_named():
    made = problem()
    ours = optimizer(made, solver=FailsOnce)
    ours.step(made.chunks())
    good = [weight.copy() for weight in ours.weights]
    result = ours.step(made.chunks())
    assert str(result.trouble) == "layer 3: cannot be solved"
    assert (result.loss, result.predicted_decrease, result.actual_decrease) == (None, None, None)
    assert (ours.iteration, ours.rollbacks, ours.control.damping) == (2, 1, 4.0)
    for pair in zip(ours.weights, good, strict=True):
        np.testing.assert_array_equal(*pair)
    assert ours.step(made.chunks()).trouble is None


class Filled(GradientSolver):
    """δW̃ has the same number everywhere, that given as λ_w."""

    def begin(self, weight, damping):
        return "nothing"

    def solve(self, inputs, weight, moment, out) -> None:
        out[...] = self._penalties.lambda_w


@pytest.mark.parametrize(
    ("changes", "furthest"), [((50, 1, 0), 2), ((50, 0.1, 0), 1), ((50, 1, 0.1), 3)]
)
def test_harm_is_laid_to_the_layer_that_moved_furthest_beside_its_weights(changes, furthest):
    made = problem()
    for weight, value in zip(made.weights, (100, 1, 0), strict=True):
        weight[:] = value
    result = optimizer(made, Verdicts(False, eta=1.0), Filled, changes).step(made.chunks())
    assert result.trouble.layer == furthest
    assert "moved furthest for its size where the loss of the batch went from" in str(
        result.trouble
    )


def test_weights_handed_in_are_not_moved():
    made = problem()
    optimizer(made).step(made.chunks())
    for pair in zip(made.weights, problem().weights, strict=True):
        np.testing.assert_array_equal(*pair)


@pytest.mark.parametrize("kept", [(True, False, True), (False, True, True)])
def test_turning_the_input_keeps_the_function_and_its_course(kept):
    """In a basis that was found anew the data are P' = P Rᵀ, and A' = R A."""
    made = problem()
    rotation, _ = np.linalg.qr(np.random.default_rng(5).standard_normal((6, 6)))
    turned = replace(made, inputs=made.inputs @ rotation.T)
    ours, theirs = (optimizer(made, Verdicts(True, True, *kept)) for _ in range(2))
    for _ in range(2):
        ours.step(made.chunks())
        theirs.step(made.chunks())
    theirs.rotate_input(rotation)
    for _ in range(3):  # on with the velocity, back to the last good weights, and on
        assert theirs.weights[1].shape == (8, 6)
        assert turned.loss_of(theirs.weights) == pytest.approx(made.loss_of(ours.weights))
        ours.step(made.chunks())
        theirs.step(turned.chunks())
    assert turned.loss_of(theirs.weights) == pytest.approx(made.loss_of(ours.weights), rel=1e-12)


@pytest.mark.parametrize("rows_at_once", [40, 10])
def test_steps_train_full_batch_and_minibatch(rows_at_once):
    rng = np.random.default_rng(0)
    inputs = append_ones(rng.standard_normal((40, 5)))
    made = replace(problem(), inputs=inputs, targets=(inputs[:, :3] @ np.eye(3)).argmax(axis=1))
    ours = optimizer(made, TrustRegion(), factored, (0.3,) * 3, judge_every=20)
    for iteration in range(160):
        first = iteration * rows_at_once % 40
        ours.step(made.chunks(first=first, last=first + rows_at_once))
    assert made.loss_of(ours.weights) < 0.2 * made.loss_of(made.weights)
    assert ours.rollbacks == 0
