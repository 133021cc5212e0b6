"""A state that is saved and loaded goes on to the bit, whatever the object remembers."""

import io
from collections.abc import Callable
from itertools import cycle, islice

import numpy as np
import pytest

from new_algorithm.back_projection.batch import Batch
from new_algorithm.back_projection.gram import DENSE_UP_TO
from new_algorithm.back_projection.optimizer import BackProjection, StepResult
from new_algorithm.back_projection.outer_steps import OUTER
from new_algorithm.back_projection.right_factors import RightFactors
from new_algorithm.back_projection.solvers import EigenbasisSolver, LayerSolver, Penalties
from new_algorithm.back_projection.state import State, Stateful, nested, part
from new_algorithm.back_projection.step_control import FixedStep, LossWatch, TrustRegion
from tests.back_projection.problems import Problem, by_cg, factored, gradient, helped_cg, problem

STEPS = 12
FINITE = {"lambda_h": 0.7}
SOLVERS: dict[str, Callable[[], LayerSolver]] = {
    "exact": lambda: factored(Penalties(0.2), 0.9, 2, 3),
    "exact, finite λ_h": lambda: factored(Penalties(0.2, **FINITE), 0.9, 2, 3),
    "exact, no average": lambda: factored(Penalties(0.2)),
    "cg": lambda: by_cg(Penalties(0.2, **FINITE), rtol=1e-3, max_iterations=3),
    "cg, helped": lambda: helped_cg(Penalties(0.2), max_iterations=2, factor_every=5),
    "cg, helped, average": lambda: helped_cg(
        Penalties(0.2, **FINITE), 0.9, max_iterations=2, factor_every=5
    ),
    "gradient": lambda: gradient(Penalties(0.2)),
}
ONLY_IN_ONE_CHUNK = ("cg", "cg, helped")  # they take G from the inputs
WIDE = (5, DENSE_UP_TO + 8, 3)
CONTROLS = {
    "controlled": lambda: TrustRegion(bound=0.02, ceiling=0.05, watch=LossWatch(worst_rise=0.005)),
    "fixed": lambda: FixedStep(30.0, watch=LossWatch(start=2.0, worst_rise=0.02)),
    "small": lambda: FixedStep(0.01, watch=LossWatch()),
}


class Training:
    """A network in the eigenbasis of its data, and batches, of which the sixth is broken."""

    def __init__(
        self,
        solver: str,
        rows: str,
        control="controlled",
        widths=(5, 7, 6, 3),
        made_anew=dict,
        **options,
    ) -> None:
        """made_anew: makes options with a memory of their own."""
        self._solver, self._rows, self._control, self._options = solver, rows, control, options
        self._made_anew = made_anew
        self._basis, self._made = problem(widths, dtype=np.float32).in_eigenbasis()

    def optimizer(self) -> BackProjection:
        made = self._made
        hidden = [SOLVERS[self._solver]() for _ in made.weights[1:]]
        return BackProjection(
            made.weights,
            made.loss,
            [EigenbasisSolver(self._basis, Penalties(0.5)), *hidden],
            CONTROLS[self._control](),
            chunk_rows=made.rows,
            in_chunks=self._rows == "chunks",
            judge_every=2,
            **self._made_anew(),
            **self._options,
        )

    def batches(self) -> list[Batch]:
        made: Problem = self._made
        minibatches = [made.chunks(first=first, last=first + 10) for first in range(0, 40, 10)]
        kinds = {
            "minibatch": minibatches,
            "full": [made.chunks()],
            "chunks": [made.chunks([7, 20]), made.chunks([13])],
        }
        batches = list(islice(cycle(kinds[self._rows]), STEPS))
        batches[5] = [(np.full_like(inputs, np.nan), y) for inputs, y in batches[5]]
        return batches


def facts(step: StepResult) -> list:
    """All of a step's numbers, in a form that compares to the bit."""
    numbers = [step.iteration, step.loss, step.slope, step.step_size]
    numbers += [step.predicted_decrease, step.actual_decrease, str(step.trouble)]
    for solve in step.solves:
        if solve is not None:
            numbers += [solve.status, solve.stalled, solve.solution.tobytes()]
            numbers += solve.residual_norms.tolist()
    return [repr(number) for number in numbers]


def through_a_file(state: State) -> State:
    file = io.BytesIO()
    np.savez(file, **state)
    file.seek(0)
    with np.load(file) as arrays:
        return dict(arrays)


def assert_equal_states(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
        assert found[name].dtype == array.dtype, name


def assert_goes_on_to_the_bit(training: Training) -> BackProjection:
    """After any number of steps; return the object that went through without a break."""
    batches, whole = training.batches(), training.optimizer()
    states, steps, rollbacks = [whole.state_dict()], [], []
    for iteration, batch in enumerate(batches):
        steps.append(whole.step(batch, (iteration + 1) / STEPS))
        states.append(whole.state_dict())
        rollbacks.append((whole.rollbacks, whole.rollbacks_in_a_row))
    for saved_after in (0, 1, 3, 4, 5, 7):
        resumed, state = training.optimizer(), through_a_file(states[saved_after])
        for batch in batches[5:7]:  # whatever it was before
            resumed.step(batch)
        resumed.load_state_dict(state)
        for iteration in range(saved_after, STEPS):
            step = resumed.step(batches[iteration], (iteration + 1) / STEPS)
            assert facts(step) == facts(steps[iteration]), (saved_after, iteration)
            assert (resumed.rollbacks, resumed.rollbacks_in_a_row) == rollbacks[iteration]
            assert_equal_states(resumed.state_dict(), states[iteration + 1])
        assert_equal_states(state, states[saved_after])  # what was loaded is not written to
    return whole


CASES = [
    (solver, rows)
    for solver in SOLVERS
    for rows in ("minibatch", "full", "chunks")
    if not (rows == "chunks" and solver in ONLY_IN_ONE_CHUNK)
]


@pytest.mark.parametrize(("solver", "rows"), CASES)
def test_training_goes_on_to_the_bit(solver, rows):
    whole = assert_goes_on_to_the_bit(Training(solver, rows))
    assert 0 < whole.rollbacks < STEPS / 2, "steps are kept and taken back on the way"


@pytest.mark.parametrize("rows", ["minibatch", "chunks"])
def test_training_with_a_fixed_step_goes_on_to_the_bit(rows):
    assert assert_goes_on_to_the_bit(Training("exact", rows, "fixed")).rollbacks > 1


def test_training_in_sequential_order_goes_on_to_the_bit():
    assert_goes_on_to_the_bit(Training("cg", "minibatch", order="sequential"))


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("rows", ["minibatch", "chunks"])
def test_training_with_any_outer_step_and_right_factors_goes_on_to_the_bit(outer, rows):
    def options():
        split = outer == "orthogonal"
        return {"right_factors": RightFactors([0.3, np.inf, 1.0], 0.9, 2, 3, split=split)}

    control = "controlled" if outer in ("momentum", "nesterov") else "small"
    training = Training("exact", rows, control, made_anew=options, outer=outer, decoupled_decay=0.1)
    whole = assert_goes_on_to_the_bit(training)
    assert whole.rollbacks < STEPS / 2
    assert any(name.startswith("_right_factors/_factors/") for name in whole.state_dict())


@pytest.mark.parametrize("solver", ["exact", "cg, helped, average"])
def test_training_of_a_wide_layer_goes_on_to_the_bit(solver):
    whole = assert_goes_on_to_the_bit(Training(solver, "minibatch", widths=WIDE))
    assert "_solvers/1/_inverse/0" in whole.state_dict(), "an inverse by leading eigenvectors"


def test_state_is_a_copy():
    training = Training("exact", "full")
    ours = training.optimizer()
    state = ours.state_dict()
    before = {name: array.copy() for name, array in state.items()}
    ours.step(training.batches()[0])
    assert_equal_states(state, before)


@pytest.mark.parametrize(
    "other", [{"widths": (5, 7, 7, 3)}, {"widths": (5, 7, 3)}, {"dtype": np.float64}], ids=str
)
def test_state_of_another_network_is_refused(other):
    def optimizer(**options) -> BackProjection:
        made = problem(**{"dtype": np.float32} | options)
        solvers = [gradient(Penalties(1.0)) for _ in made.weights]
        return BackProjection(made.weights, made.loss, solvers, FixedStep(0.1), chunk_rows=40)

    ours = optimizer()
    before = ours.state_dict()
    with pytest.raises(ValueError, match=r"weights: \d+ float\d\d numbers were saved, \d+"):
        ours.load_state_dict(optimizer(**other).state_dict())
    assert_equal_states(ours.state_dict(), before)


class Owner(Stateful):
    remembered = ("count", "size", "missing", "matrix", "pair", "watch", "many")

    def __init__(self, *, empty: bool = False) -> None:
        self.count, self.size, self.missing = 3, 0.5, None
        self.matrix = None if empty else np.eye(2, dtype=np.float32)
        self.pair = None if empty else (np.arange(2.0), 0.25)
        self.watch = LossWatch(start=None if empty else 2.0)
        self.many = [LossWatch(), LossWatch(start=None if empty else 3.0)]


def test_attributes_come_back_with_their_types():
    other = Owner(empty=True)
    other.missing = np.ones(1)
    watch = other.watch
    other.load_state_dict(through_a_file(Owner().state_dict()))
    assert (type(other.count), type(other.size), other.missing) == (int, float, None)
    assert other.matrix.dtype == np.float32
    assert other.watch is watch
    assert [one.start for one in (other.watch, *other.many)] == [2.0, None, 3.0]
    np.testing.assert_array_equal(other.pair[0], [0, 1])
    assert (type(other.pair[1]), other.pair[1]) == (float, 0.25)
    other.load_state_dict(Owner(empty=True).state_dict())
    assert (other.matrix, other.pair, other.watch.start) == (None, None, None)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"count": np.array(0.5)}, "count is not a number"),
        ({"count": np.array("3")}, "count is not a number"),
        ({"count": np.array([3])}, "count is not a number"),
        ({"count": None}, "count is missing"),
        ({"size": np.array("x")}, "size is not a number"),
        ({"watch/worst_rise": np.array(True)}, "worst_rise is not a number"),
    ],
)
def test_what_is_no_number_is_refused_in_place_of_one(change, refusal):
    state = {**Owner().state_dict(), **change}
    state = {name: array for name, array in state.items() if array is not None}
    with pytest.raises(ValueError, match=f"^{refusal}$"):
        Owner().load_state_dict(state)


def test_parts_are_told_apart_by_their_whole_names():
    state = nested("solver_1", {"rows": np.array(1)}) | nested("solver_10", {"rows": np.array(2)})
    assert part("solver_1", state) == {"rows": 1}
    assert part("solver_10", state) == {"rows": 2}
