"""Bounds on the error of a ReLU network on new rows: by its size, or by its norms and margins.

Those by norms hold, with probability 1 − δ over the n training rows, for all networks and all
margins γ at once: each number that a class of networks is named by (a norm, or γ) is on a grid
exp(step · j), j a whole number, norms rounded up, and grid point j has the share
2/3 / ((|j| + 1) (|j| + 2)) of δ, which sum to 1. So nothing is assumed but that rows are drawn
independently.

A margin is F_y − max_{k≠y} F_k. With the class G of ramps of margins, 1 at margin 0 and below and 0
from γ on, the error on new rows is at most

    share of training margins ≤ γ  +  2 Rad(G)  +  3 √(ln(2/δ) / 2n)                            (*)

Rad being the empirical Rademacher complexity (Mohri, Rostamizadeh and Talwalkar 2018, §3.1).
Products of norms over many layers are beyond the largest float: they are kept in logarithms.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

STEP = 0.1  # of the grid of margins, in logarithms
LEAST = math.log(1e-12)  # of a norm's logarithm: smaller ones are taken for it


class Bound(NamedTuple):
    """log_value: ln of what is at least the error on new rows, of interest below 0. margin: γ where
    it is least."""

    log_value: float
    margin: float


def without_biases(weights: Sequence[NDArray]) -> list[NDArray]:
    """Return matrices A of a network without biases that computes of [x, 1] what W̃ do of x.

    Hidden layers have a unit more, which passes the 1 on: A = [[W, 0], [bᵀ, 1]].
    """
    hidden = [np.column_stack([w, np.eye(len(w))[-1]]) for w in weights[:-1]]
    return [*hidden, weights[-1]]


def column_norms(matrix: NDArray) -> NDArray:
    """Return the norm of what comes into each unit of A (d_in, d_out); their sum is ‖A‖_{2,1}."""
    return np.linalg.norm(matrix, axis=0)


def log_spectral_complexity(matrices: Sequence[NDArray], references: Sequence[NDArray]) -> float:
    """Return ln R_A, R_A = Π_i ‖A_i‖_σ (Σ_i (‖A_i − M_i‖_{2,1} / ‖A_i‖_σ)^{2/3})^{3/2}, of ReLU
    layers; −∞ for the references themselves.

    Bartlett, Foster and Telgarsky 2017, §1; the matrices there are the transposes of these.
    """
    return _log_complexity(*_log_norms(matrices, references))


def _log_norms(
    matrices: Sequence[NDArray], references: Sequence[NDArray]
) -> tuple[NDArray, NDArray]:
    """ln ‖A_i‖_σ and ln ‖A_i − M_i‖_{2,1}."""
    spectral = np.array([np.linalg.norm(a, 2) for a in matrices])
    pairs = zip(matrices, references, strict=True)
    distances = np.array([column_norms(a - m).sum() for a, m in pairs])
    return _log(spectral), _log(distances)


def _log(values: NDArray) -> NDArray:
    with np.errstate(divide="ignore"):
        return np.log(values)


def _log_complexity(spectral: NDArray, distances: NDArray) -> float:
    return float(spectral.sum() + 1.5 * logsumexp(2 / 3 * (distances - spectral)))


def spectral_bound(
    matrices: Sequence[NDArray],
    references: Sequence[NDArray],
    inputs: float,
    margins: NDArray,
    delta: float,
) -> Bound:
    """Return the bound of Bartlett, Foster and Telgarsky 2017 for networks near references M.

    inputs: ‖X‖_F of the training rows [x, 1]. margins: theirs (n,). The classes have a covering
    number ln N(ε) ≤ ‖X‖² ln(2 w²) R_A² / ε² (Theorem 3.3), w the largest width; a ramp of a margin
    is 2/γ-Lipschitz in the outputs; Dudley's integral from 1/n to √n then gives
    Rad ≤ 4/n^{3/2} + 36 ‖X‖ √(ln 2w²) ln(n) R_A / (γ n).
    """
    n, widest = len(margins), max(max(a.shape) for a in matrices)
    step = 1 / len(matrices)  # rounded up, a product of norms is at most e times as large
    (spectral, cost), (distances, more) = (
        _rounded_up(norms, step) for norms in _log_norms(matrices, references)
    )
    slope = 72 * inputs * math.sqrt(math.log(2 * widest**2)) * math.log(n) / n
    log_slope = math.log(slope) + _log_complexity(spectral, distances)
    log_value, margin = _best_margin(margins, log_slope, cost + more, delta)
    return Bound(float(np.logaddexp(log_value, math.log(8 / n**1.5))), margin)


def frobenius_bound(
    matrices: Sequence[NDArray], inputs: float, margins: NDArray, delta: float
) -> Bound:
    """Return the bound by the Frobenius norms of layers (Neyshabur, Tomioka and Srebro 2015).

    Each of the L − 1 hidden layers costs a factor 2 ‖A_l‖_F of Rademacher complexity (their
    Theorem 1 with p = q = 2; Golowich, Rakhlin and Shamir 2018, Lemma 1), and output k then has
    Rad_k ≤ 2^{L−1} ‖a_k‖ Π_{l<L} ‖A_l‖_F ‖X‖_F / n, a_k its column of A_L. A ramp of a margin is
    √2/γ-Lipschitz in the outputs, so that Rad(G) ≤ 2/γ Σ_k Rad_k (Maurer 2016). ReLU networks being
    homogeneous, only the products count and are rounded.
    """
    hidden = sum(math.log(2 * float(np.linalg.norm(a))) for a in matrices[:-1])
    products, cost = _rounded_up(_log(column_norms(matrices[-1])) + hidden, STEP)
    log_slope = float(logsumexp(products)) + math.log(4 * inputs / len(margins))
    return Bound(*_best_margin(margins, log_slope, cost, delta))


def _cost(j: NDArray) -> NDArray:
    """−ln of the share of δ that grid point j has; Σ_j 1 / ((|j| + 1) (|j| + 2)) is 3/2."""
    return np.log(1.5 * (abs(j) + 1) * (abs(j) + 2))


def _rounded_up(logs: NDArray, step: float) -> tuple[NDArray, float]:
    """The grid points step · j at or above logarithms, and the nats that they cost together."""
    j = np.ceil(np.maximum(logs, LEAST) / step)
    return step * j, float(_cost(j).sum())


def _best_margin(
    margins: NDArray, log_slope: float, cost: float, delta: float
) -> tuple[float, float]:
    """ln of the least of (*) over the grid's γ up to the largest margin, and that γ: 2 Rad(G) is
    slope / γ. Beyond that margin all rows count, and (*) says nothing whatever the network."""
    n = len(margins)
    largest = max(float(margins.max()), 1e-6)
    j = np.arange(-100, 1) + math.floor(math.log(largest) / STEP)
    below = np.searchsorted(np.sort(margins), np.exp(STEP * j), side="right") / n
    nats = math.log(2 / delta) + cost + _cost(j)
    values = np.logaddexp(np.log(below + 3 * np.sqrt(nats / (2 * n))), log_slope - STEP * j)
    best = int(values.argmin())
    return float(values[best]), math.exp(STEP * j[best])


def _polynomials(widths: Sequence[int], last: int) -> tuple[float, float]:
    """w, the sum over layers i of the parameters of layers 1 … i, and R = Σ i k_i over layers of
    k_i units; of `last` functions in place of the last layer's units."""
    parameters = np.cumsum([(a + 1) * b for a, b in pairwise(widths)])
    units = [*widths[1:-1], last]
    return float(parameters.sum()), sum(i * k for i, k in enumerate(units, start=1))


def vc_dimension(widths: Sequence[int]) -> float:
    """Return an upper bound on the VC dimension of sign(F), F a ReLU network with one output.

    widths: of the inputs and of each layer, the last being 1. Bartlett, Harvey, Liaw and Mehrabian
    2019, Theorem 7, for two linear pieces: m points that can be labelled in all ways have
    2^m ≤ 2^L (2e R m / w)^w, whence m ≤ L + w log₂(4e R log₂(2e R)).
    """
    w, r = _polynomials(widths, 1)
    return len(widths) - 1 + w * math.log2(4 * math.e * r * math.log2(2 * math.e * r))


def vc_order(widths: Sequence[int]) -> float:
    """Return W L log₂(W / L), to within a constant the VC dimension of the best network of W
    parameters in L layers (the same)."""
    layers = len(widths) - 1
    count = sum((a + 1) * b for a, b in pairwise(widths))
    return count * layers * math.log2(count / layers)


def log_labellings(widths: Sequence[int], points: int) -> float:
    """Return an upper bound on ln of the number of ways in which networks name `points` rows.

    widths: as above, the last being the outputs m, where one stands for two classes. Names follow
    from the signs of m (m − 1) / 2 differences of outputs: so many functions, in place of one, are
    in the last factor of the growth function in the proof of Theorem 7, which has the logarithm
    L ln 2 + w ln(2e R points / w) where points ≥ w. There are no more than classes^points ways.
    """
    outputs = widths[-1]
    w, r = _polynomials(widths, max(1, outputs * (outputs - 1) // 2))
    all_ways = points * math.log(max(2, outputs))
    if points < w:
        return all_ways
    return min(
        all_ways, (len(widths) - 1) * math.log(2) + w * math.log(2 * math.e * r * points / w)
    )


def growth_bound(error: float, widths: Sequence[int], n: int, delta: float) -> float:
    """Return the training error + √(8/n (ln Π(2n) + ln 4/δ)), Π the number of labellings (Vapnik
    and Chervonenkis 1971)."""
    return error + math.sqrt(8 / n * (log_labellings(widths, 2 * n) + math.log(4 / delta)))
