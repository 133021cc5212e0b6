"""Data in the form of HIGGS, drawn at random, of which the best possible AUC is known exactly.

Given the label y, z in R^28 is normal with unit covariance and mean ±SHIFT/2, which differs from
zero in the last 14 coordinates only. The best score, the logarithm of the likelihood ratio, is
SHIFT · z; its AUC is Φ(|SHIFT|/√2). Then come steps that can be undone, and so leave that AUC as it
is, but hide the shift from whatever is linear:

    v_a = z_a                  the first 14 coordinates
    v_b = z_b + f(v_a)         f a fixed sum of sines, far larger than the shift
    x   = v, or exp(c · v) in three features of four: as skew as the momenta and masses of HIGGS

All of it is a pure function of the seed and the number of a block: the first rows do not depend on
how many are drawn.
"""

from collections.abc import Iterator
from functools import cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from datasets.higgs.form import FEATURES

VERSION = 1  # of the generator: other numbers for the same seed come with another version
BAYES_AUC = 0.88
SIGNAL_SHARE = 0.53
BLOCK_ROWS = 1 << 14
HALF = FEATURES // 2
SHIFT_LENGTH = 2**0.5 * NormalDist().inv_cdf(BAYES_AUC)
SINES = 20
COORDINATES_PER_SINE = 2
FREQUENCY = 0.9
AMPLITUDE = 4.0  # standard deviation of each coordinate of f
SKEWNESS = 0.6  # standard deviation of the logarithm of a skew feature
SKEWED = np.arange(FEATURES) % 4 != 3
STREAM = 28  # beside seed and block: no other stream of random numbers here has three parts


def draw_block(seed: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Features, float32 (BLOCK_ROWS, 28), and labels 0 or 1, int64 (BLOCK_ROWS,)."""
    rng = np.random.default_rng([seed, block, STREAM])
    labels = (rng.random(BLOCK_ROWS) < SIGNAL_SHARE).astype(np.int64)
    v = rng.standard_normal((BLOCK_ROWS, FEATURES))
    v[:, HALF:] += (labels[:, None] - 0.5) * _constants().shift + _tangle(v[:, :HALF])
    v[:, SKEWED] = np.exp(v[:, SKEWED] * _scales())
    return v.astype(np.float32), labels


def draw(rows: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The first `rows` rows, a block at a time; the last block is shorter."""
    for block, start in enumerate(range(0, rows, BLOCK_ROWS)):
        x, y = draw_block(seed, block)
        yield x[: rows - start], y[: rows - start]


def bayes_score(x: np.ndarray) -> np.ndarray:
    """log p(x | 1) − log p(x | 0), float64 (n,), of features x (n, 28)."""
    v = x.astype(np.float64)
    v[:, SKEWED] = np.log(v[:, SKEWED]) / _scales()
    return (v[:, HALF:] - _tangle(v[:, :HALF])) @ _constants().shift


class _Constants(NamedTuple):
    """The same for every seed.

    shift: difference of the classes' means, (14,). frequencies (14, SINES), phases (SINES,) and
    weights (SINES, 14): f(v) = sin(v @ frequencies + phases) @ weights.
    """

    shift: np.ndarray
    frequencies: np.ndarray
    phases: np.ndarray
    weights: np.ndarray


@cache
def _constants() -> _Constants:
    rng = np.random.default_rng([0, 0, STREAM])
    direction = rng.choice([-1.0, 1.0], HALF) * rng.uniform(0.5, 1.5, HALF)
    frequencies = np.zeros((HALF, SINES))
    for sine in range(SINES):
        chosen = rng.choice(HALF, COORDINATES_PER_SINE, replace=False)
        frequencies[chosen, sine] = rng.normal(0, FREQUENCY, COORDINATES_PER_SINE)
    weights = rng.standard_normal((SINES, HALF))
    weights *= AMPLITUDE / np.sqrt(np.square(weights).sum(axis=0) / 2)  # a sine's variance is 1/2
    return _Constants(
        shift=SHIFT_LENGTH * direction / np.linalg.norm(direction),
        frequencies=frequencies,
        phases=rng.uniform(0, 2 * np.pi, SINES),
        weights=weights,
    )


def _tangle(v: np.ndarray) -> np.ndarray:
    constants = _constants()
    return np.sin(v @ constants.frequencies + constants.phases) @ constants.weights


def _scales() -> np.ndarray:
    """Of the skew features, so that SKEWNESS is the same in all of them."""
    sd = np.where(np.arange(FEATURES) < HALF, 1.0, np.hypot(1.0, AMPLITUDE))
    return SKEWNESS / sd[SKEWED]
