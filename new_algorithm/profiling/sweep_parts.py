"""The parts of back projection in NumPy: which functions are which phase, of which layer, and the
floating-point operations of their products.

Methods are named by their place, as text, since some lie above this package.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from new_algorithm.back_projection.conjugate_gradients import CGResult
from new_algorithm.back_projection.solvers import (
    CGSolver,
    EigenbasisSolver,
    FactoredSolver,
    GradientSolver,
    LayerSolver,
)
from new_algorithm.profiling import products

METHOD = "new_algorithm.back_projection"
FORWARD, SUMS = "forward", "sums H̃ᵀΔ, H̃ᵀH̃"
FACTORS, SOLVES, PASSED = "Gram matrices, factors", "solves", "Δ passed down"
STREAMS = {  # generators, each item of which is waited for
    "new_algorithm.back_projection.rows:RowsInMemory.batches": "batches",
    "datasets.streamed_rows:StreamedRows.batches": "batches",
    "datasets.streamed_rows:StreamedRows.read": "batches",
    "new_algorithm.back_projection.rows:minibatches": "batches",
}
LOSSES = tuple(
    f"{METHOD}.losses:{loss}" for loss in ("SQUARED", "SOFTMAX", "LOGISTIC", "BERNOULLI")
)
STEPS = (  # at the end of which a step is done, the outermost alone; each has one residual
    f"{METHOD}.optimizer:BackProjection.step",
    f"{METHOD}.sweep:Sweep.__call__",
    *(f"{loss}.residual" for loss in LOSSES),
)


@dataclass(frozen=True)
class PartOf:
    """subject: of the arguments, the one by which the layer is known: its index, weights or
    solver; None where no layer is meant. flops: of the products, from result and arguments."""

    phase: str
    subject: int | None = None
    flops: Callable[..., float] = lambda *_, **__: 0


class Layers:
    """Tells layers, from 1, by their weights and solvers, which are the same objects in a run."""

    def __init__(self) -> None:
        self._of: dict[int, int] = {}

    def learn(self, objects: Sequence[Any]) -> None:
        self._of |= {id(one): layer for layer, one in enumerate(objects, start=1)}

    def of(self, subject: Any) -> int | None:
        return subject + 1 if isinstance(subject, int) else self._of.get(id(subject))


class Watched(list):
    """Weights that say which is asked for: a forward pass takes them layer by layer."""

    def __init__(self, weights: Sequence[Any], asked: Callable[[int], None]) -> None:
        super().__init__(weights)
        self._asked = asked

    def __getitem__(self, key: Any) -> Any:
        layers = range(1, len(self) + 1)[key]
        if not isinstance(key, slice):
            self._asked(layers)  # type: ignore[arg-type]
            return super().__getitem__(key)
        return self._each(layers, super().__getitem__(key))  # type: ignore[arg-type]

    def _each(self, layers: Sequence[int], weights: Sequence[Any]) -> Iterator[Any]:
        for layer, weight in zip(layers, weights, strict=True):
            self._asked(layer)
            yield weight


def parts() -> dict[str, PartOf]:
    """Return what is timed, by place."""
    found = {
        f"{METHOD}.optimizer:BackProjection.step": PartOf("step control"),
        f"{METHOD}.optimizer:BackProjection.snapshot": PartOf("step control"),
        f"{METHOD}.optimizer:BackProjection.rollback": PartOf("step control"),
        f"{METHOD}.sweep:Sweep.__call__": PartOf("sweep: masks and the rest"),
        f"{METHOD}.sweep:Sweep.loss": PartOf("step control"),
        f"{METHOD}.optimizer:BackProjection._move": PartOf("outer step"),
        f"{METHOD}.batch:RowSums.add": PartOf(SUMS, 1, _sums),
        f"{METHOD}.layer_problem:absolute_penalties": PartOf(FACTORS, 1),
        f"{METHOD}.layer_problem:weight_change_by_cg": PartOf(SOLVES, 1, _plain_cg),
        f"{METHOD}.layer_problem:weight_change_exact": PartOf(SOLVES, 1, _plain_exact),
        f"{METHOD}.layer_problem:passed_down": PartOf(PASSED, 1, _plain_passing),
        **{f"{loss}.{name}": PartOf("loss") for loss in LOSSES for name in ("losses", "residual")},
    }
    solvers = EigenbasisSolver, FactoredSolver, CGSolver, GradientSolver, LayerSolver
    phases = {"begin": FACTORS, "observe": FACTORS, "solve": SOLVES, "pass_down": PASSED}
    counts: dict[tuple[type, str], Callable[..., float]] = {
        (FactoredSolver, "observe"): _factoring,
        (FactoredSolver, "solve"): _factored_solve,
        (FactoredSolver, "pass_down"): _by_factor,
        (CGSolver, "solve"): _cg_solve,
        (LayerSolver, "pass_down"): _passing,
    }
    for solver in solvers:
        for name, phase in phases.items():
            if name in vars(solver):
                place = f"{solver.__module__}:{solver.__name__}.{name}"
                count = counts.get((solver, name))
                found[place] = PartOf(phase, 0, count) if count else PartOf(phase, 0)
    return found


def _sums(_: Any, sums: Any, index: int, inputs: Any, delta: Any, *_weights: Any) -> float:
    return products.moment_sums(inputs, delta, sums._needs[index] == "gram")


def _factoring(_: Any, solver: Any, gram: Any) -> float:
    return products.inverse(gram.order) if solver._due and solver._inputs_fixed else 0


def _factored_solve(_: Any, solver: Any, inputs: Any, weight: Any, moment: Any, out: Any) -> float:
    in_full = solver._inverse is None
    return products.exact_form(moment) if in_full else products.inverse_applied(moment)


def _passing(_: Any, solver: Any, residual: Any, weight: Any, out: Any) -> float:
    return products.passing_down(residual, weight)


def _by_factor(_: Any, solver: Any, residual: Any, weight: Any, out: Any) -> float:
    n, m = residual.shape
    return 0 if solver._passed is None else products.product(n, m, m)


def _cg_solve(
    found: CGResult, solver: Any, inputs: Any, weight: Any, moment: Any, out: Any
) -> float:
    rows = len(inputs) if solver._average is None else None
    expected = min(solver.max_iterations or weight.size, weight.size)
    facts = solver.lambda_h, found.iterations, expected
    by = 0 if solver._inverse is None else found.iterations * products.inverse_applied(moment)
    return by + products.by_conjugate_gradients(rows, weight, *facts)


def _plain_cg(
    found: CGResult,
    inputs: Any,
    weight: Any,
    delta: Any,
    lambda_w: float,
    lambda_h: float,
    *,
    max_iterations: int | None = None,
    **_: Any,
) -> float:
    expected = min(max_iterations or weight.size, weight.size)
    facts = lambda_h, found.iterations, expected
    moment = products.moment_sums(inputs, delta, with_gram=False)
    return moment + products.by_conjugate_gradients(len(inputs), weight, *facts)


def _plain_exact(_: Any, inputs: Any, weight: Any, delta: Any, *penalties: float) -> float:
    k = products.product(weight.shape[1], len(weight) - 1, weight.shape[1])
    moment = products.moment_sums(inputs, delta, with_gram=True)
    return k + moment + products.exact_form(weight)


def _plain_passing(_: Any, residual: Any, weight: Any, lambda_h: float) -> float:
    n, m = residual.shape
    by_k = 0 if np.isinf(lambda_h) else products.product(n, m, m)
    return by_k + products.passing_down(residual, weight)
