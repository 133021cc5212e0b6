"""The solvers of a whole network."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from new_algorithm.back_projection.eigenbasis import Eigenbasis
from new_algorithm.back_projection.gram import MovingGram, intervals
from new_algorithm.back_projection.solvers.cg import CGSolver
from new_algorithm.back_projection.solvers.eigenbasis import EigenbasisSolver
from new_algorithm.back_projection.solvers.factored import FactoredSolver
from new_algorithm.back_projection.solvers.gradient import GradientSolver
from new_algorithm.back_projection.solvers.solver import LayerSolver, Penalties

GRAM_AVERAGE = 0.9  # what a moving average of Gram matrices keeps from batch to batch

Solver = Literal["exact", "cg", "gradient"]


def layer_solvers(
    penalties: Sequence[Penalties],
    shapes: Sequence[tuple[int, ...]],
    batch_size: int,
    basis: Eigenbasis | None,
    *,
    solver: Solver = "exact",
    gram_average: float = GRAM_AVERAGE,
    in_chunks: bool = False,
    cg: Mapping[str, Any] | None = None,
) -> list[LayerSolver]:
    """Return the solver of each layer: the eigenbasis for the data, `solver` for the others.

    shapes: of W̃_1 … W̃_L. basis: None where the data are not known beforehand; then the input
    layer is solved like the others. gram_average: 0 takes each batch's own Gram matrix. in_chunks:
    whether a batch may come in several. cg: what conjugate gradients are told, see CGSolver.
    """
    gram_every, factor_every = intervals(batch_size, shapes, in_chunks)
    if gram_average == 0:
        gram_every = factor_every = 1

    def by_gram(penalties: Penalties) -> LayerSolver:
        average = MovingGram(gram_average)
        if solver == "gradient":
            return GradientSolver(penalties)
        if solver == "exact":
            return FactoredSolver(penalties, average, gram_every, factor_every)
        # without an average it needs the inputs, and of a batch in chunks they are not there
        needed = average if gram_average or in_chunks else None
        return CGSolver(penalties, needed, factor_every=factor_every, **(cg or {}))

    if basis is None:
        return [by_gram(one) for one in penalties]
    return [EigenbasisSolver(basis, penalties[0]), *map(by_gram, penalties[1:])]
