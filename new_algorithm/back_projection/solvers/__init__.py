"""How the problem of one layer is solved within a sweep, with a memory that outlives the batch.

Each solver looks at its weights with `begin`, says what it needs to know of its inputs, and takes
that in with `observe`; `solve` finds δW̃, and `pass_down` turns what the weights leave over into
the wanted change of the layer's input. Passing down needs the weights alone, so that it may come
before `observe`.
"""

from new_algorithm.back_projection.solvers.cg import CGSolver
from new_algorithm.back_projection.solvers.eigenbasis import EigenbasisSolver
from new_algorithm.back_projection.solvers.factored import FactoredSolver
from new_algorithm.back_projection.solvers.gradient import GradientSolver
from new_algorithm.back_projection.solvers.solver import LayerSolver, Penalties, decay_cost

__all__ = [
    "CGSolver",
    "EigenbasisSolver",
    "FactoredSolver",
    "GradientSolver",
    "LayerSolver",
    "Penalties",
    "decay_cost",
]
