"""A linear read-out in closed form: problem (P) from no weights, λ_w by cross-validation.

With inputs X less their mean and targets Y, indicators of the classes less their shares, (P) with
W̃ = 0 and λ_h = ∞ is 1/(2n) ‖Y − X W‖² + λ_w/2 ‖W‖². Both having mean 0, a bias would be 0. Its
solution, (3), is W = Q diag(1/(g_i + λ_w)) Qᵀ M from G = XᵀX/n = Q diag(g) Qᵀ and M = XᵀY/n: one
eigendecomposition serves all penalties. G and M of all rows but a fold's are those of all rows less
the fold's: rows are read once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.layer_problem import divide_above_rounding, spectrum

PENALTIES = 10.0 ** np.arange(-6, 3)  # λ_w, relative to the mean eigenvalue of G


@dataclass(frozen=True)
class Probe:
    """weight: W (d, classes). bias: (classes,). penalty: its λ_w, relative."""

    weight: NDArray
    bias: NDArray
    penalty: float

    def classes(self, x: NDArray) -> NDArray[np.int64]:
        """Return the class with the largest output for each row of x (n, d)."""
        return (x @ self.weight + self.bias).argmax(1)


@dataclass(frozen=True)
class Moments:
    """Sums over rows: how many, of X and of Y, and XᵀX and XᵀY. Those of parts of rows add up."""

    rows: int
    x: NDArray
    y: NDArray
    xx: NDArray
    xy: NDArray

    @classmethod
    def of(cls, x: NDArray, y: NDArray) -> "Moments":
        return cls(len(x), x.sum(0), y.sum(0), x.T @ x, x.T @ y)

    def __sub__(self, other: "Moments") -> "Moments":
        return Moments(
            self.rows - other.rows,
            self.x - other.x,
            self.y - other.y,
            self.xx - other.xx,
            self.xy - other.xy,
        )


def fit_probe(
    x: NDArray, labels: NDArray, classes: int, rng: np.random.Generator, folds: int = 5
) -> Probe:
    """Fit features x (n, d) to labels 0 … classes − 1, with the one of PENALTIES that makes the
    fewest mistakes on rows left out, of equals the largest.

    Each fold has a share of every class, to within one row. Computed in double precision.
    """
    mean = x.mean(0, dtype=np.float64)
    x = x - mean  # so that less cancels in the moments
    targets = np.eye(classes)[labels]
    fold = stratified_folds(labels, rng, folds)
    whole = Moments.of(x, targets)
    mistakes = np.zeros(len(PENALTIES), int)
    for one in range(folds):
        left_out = fold == one
        kept = whole - Moments.of(x[left_out], targets[left_out])
        for index, (weight, bias) in enumerate(solutions(kept)):
            found = (x[left_out] @ weight + bias).argmax(1)
            mistakes[index] += np.count_nonzero(found != labels[left_out])
    best = len(PENALTIES) - 1 - int(mistakes[::-1].argmin())
    weight, bias = list(solutions(whole))[best]
    return Probe(weight, bias - mean @ weight, float(PENALTIES[best]))


def solutions(of: Moments) -> Iterator[tuple[NDArray, NDArray]]:
    """Yield W (d, classes) and bias for each of PENALTIES."""
    mean, shares = of.x / of.rows, of.y / of.rows
    g, q = spectrum(of.xx / of.rows - np.outer(mean, mean))
    moment = q.T @ (of.xy / of.rows - np.outer(mean, shares))
    for penalty in PENALTIES:
        weight = q @ divide_above_rounding(moment, (g + penalty * g.mean())[:, None], g)
        yield weight, shares - mean @ weight


def stratified_folds(labels: NDArray, rng: np.random.Generator, folds: int) -> NDArray[np.int64]:
    """Return a fold for each row; of every class, and of all rows, as many in each within one."""
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # classes one after another, shuffled
    fold = np.empty(len(labels), np.int64)
    fold[order] = np.arange(len(labels)) % folds
    return fold
