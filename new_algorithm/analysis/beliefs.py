"""What back projection believes of a ReLU network's curvature, beside what it is.

With λ_h = ∞ the problem (P) of a layer takes the loss along δW̃ to be

    L − ⟨δW̃, M⟩ + ½ ⟨δW̃, (G + λ_w I) δW̃⟩,    G = H̃ᵀH̃/n,  M = H̃ᵀΔ/n,

thus (G + λ_w I) ⊗ I to be the layer's curvature, and is least at δW̃ = (G + λ_w I)⁻¹ M. With J_i the
derivative of row i of F in row i of Z_l, the layer's Gauss–Newton block is

    B = 1/n Σ_i h̃_i h̃_iᵀ ⊗ J_iᵀ Λ_i J_i,

which is G ⊗ I where J_iᵀ Λ_i J_i = I in every row: what is left out are the layers above, and the
loss's own Hessian Λ in the outputs. Of a change of several layers at once the model is the sum over
the layers, without the blocks between them. G is that of the rows looked at, where a run has a
moving average; of layer 1, where the run solved it among the data's leading eigenvectors Q, the
model is Q diag(g) Qᵀ of all training rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from new_algorithm.analysis.directions import Penalties, deltas, step_in
from new_algorithm.analysis.spectra import Operator
from new_algorithm.back_projection.eigenbasis import Eigenbasis
from new_algorithm.back_projection.layer_problem import (
    absolute_lambda_w,
    cross_moment,
    exact_solution,
    gram,
    mean_eigenvalue_of_gram,
    spectrum,
)
from new_algorithm.back_projection.losses import Loss
from new_algorithm.back_projection.network import append_ones, forward
from new_algorithm.record.files import Row

Changes = Mapping[int, NDArray]  # of layers, from 0, like W̃


@dataclass(frozen=True)
class Point:
    """Where a network is: W̃_1 … W̃_L, rows x (n, d_0) and y, the loss, and its Gauss–Newton matrix
    over these rows in float64."""

    weights: Sequence[NDArray]
    x: NDArray
    y: NDArray
    loss: Loss
    gauss_newton: Operator


@dataclass(frozen=True)
class Belief:
    """Of one layer: M and δW̃, both like W̃; of_g: the spectrum of G, eigenvalues (r,) rising and
    eigenvectors (d_in + 1, r)."""

    moment: NDArray
    change: NDArray
    of_g: tuple[NDArray, NDArray]

    @property
    def slope(self) -> float:
        """⟨δW̃, M⟩, how fast the loss falls along δW̃; and since (G + λ_w I) δW̃ = M also the
        curvature along it that the model has."""
        return float(np.vdot(self.change, self.moment))


def beliefs(point: Point, penalties: Penalties, basis: Eigenbasis | None = None) -> list[Belief]:
    """Solve (P) at every layer with λ_h = ∞, whatever the run had, and its λ_w; layer 1 in the
    basis, if there is one."""
    activations, output = forward(point.weights, append_ones(point.x))
    hidden = [inputs[:, :-1] for inputs in activations[1:]]  # above 0 where Z is
    asked = deltas(point.weights, hidden, point.loss.residual(output, point.y))
    found = []
    for index, (inputs, weight, delta, damping) in enumerate(
        zip(activations, point.weights, asked, penalties.lambda_w, strict=True)
    ):
        moment = cross_moment(inputs, delta)
        if index == 0 and basis is not None:
            rising = basis.values[::-1], basis.vectors[:, ::-1]
            found.append(Belief(moment, step_in(basis, moment, penalties), rising))
            continue
        if penalties.relative:
            damping = absolute_lambda_w(mean_eigenvalue_of_gram(inputs), damping)
        of_g = spectrum(gram(inputs))
        no_k = np.zeros(weight.shape[1]), np.eye(weight.shape[1])  # λ_h = ∞ leaves nothing of K
        change = exact_solution(moment, of_g, no_k, damping, np.inf)
        found.append(Belief(moment, change, of_g))
    return found


def folded(vectors: NDArray, d_out: int) -> NDArray:
    """Return (k, d_in + 1, d_out), as W̃ has them, from vectors (d, k) of a torch layer's weight
    (d_out, d_in) and bias."""
    weights = vectors[:-d_out].T.reshape(vectors.shape[1], d_out, -1).swapaxes(1, 2)
    return np.concatenate([weights, vectors[-d_out:].T[:, None]], axis=1)


def unfolded(change: NDArray) -> NDArray:
    """Return the vector of torch's weight and bias that is W̃'s (d_in + 1, d_out)."""
    return np.concatenate([change[:-1].T.ravel(), change[-1]])


def overlap(vectors: NDArray, q: NDArray) -> tuple[float, float]:
    """Return the share of a block's k leading eigenvectors V_i, as W̃ has them, that lies among the
    model's, 1/k Σ_i ‖Q_rᵀ V_i‖_F² in [0, 1]; and that of a random direction, r/(d_in + 1).

    q: eigenvectors of G as columns, of rising eigenvalues. To each the model has d_out eigenvectors
    of one eigenvalue, q ⊗ R^d_out: its k leading ones are in span(q_1 … q_r) ⊗ R^d_out with
    r = ⌈k/d_out⌉, and if it were the block, the share would be 1.
    """
    rank = min(-(-len(vectors) // vectors.shape[2]), q.shape[1])
    inside = np.einsum("ir,kio->kro", q[:, q.shape[1] - rank :], vectors)
    return float(np.square(inside).sum() / len(vectors)), rank / len(q)


def bend(point: Point, changes: Changes) -> float:
    """Return ⟨δ, GN δ⟩ of the changes of some layers, the others still."""
    whole = [changes.get(i, np.zeros_like(weight)) for i, weight in enumerate(point.weights)]
    vector = torch.from_numpy(np.concatenate([unfolded(change) for change in whole]))
    return float(vector @ (point.gauss_newton @ vector))


def decreases(point: Point, changes: Changes, etas: NDArray) -> NDArray:
    """Return how far the loss falls where some layers move by η times their changes: (steps,)."""
    inputs = append_ones(point.x)

    def value(eta: float) -> float:
        moved = [w + eta * changes[i] if i in changes else w for i, w in enumerate(point.weights)]
        return point.loss.value(forward(moved, inputs)[1], point.y)

    return value(0.0) - np.array([value(eta) for eta in etas])


def promises(point: Point, name: str, moving: Mapping[int, Belief], etas: NDArray) -> list[Row]:
    """Return, a row a step η, what was promised of the decrease along these layers' changes: by the
    slope s, η s; by the model, (η − η²/2) s; by Gauss–Newton, η s − η²/2 ⟨δ, GN δ⟩; and the actual
    one."""
    slope = sum(belief.slope for belief in moving.values())
    changes = {index: belief.change for index, belief in moving.items()}
    half = etas**2 / 2
    columns = {
        "step": etas,
        "slope": etas * slope,
        "model": (etas - half) * slope,
        "gauss_newton": etas * slope - half * bend(point, changes),
        "actual": decreases(point, changes, etas),
    }
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [{"layers": name} | dict(zip(columns, row, strict=True)) for row in rows]
