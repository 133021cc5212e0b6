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

import gzip
import re
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.dataset import Dataset, Split
from datasets.higgs.cache import TEST_DIVISOR, Origin, count_test_rows, load_cached
from datasets.higgs.csv_rows import FEATURES
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.progress import progress
from new_algorithm.record.files import replace_atomically

NAME = "higgs-like"
DEFAULT_ROWS = 100_000
MOST_ROWS = 100_000_000
GZIP_LEVEL = 1  # random digits hardly shrink any further

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


def draw_block(seed: int, block: int) -> tuple[NDArray, NDArray]:
    """Features, float32 (BLOCK_ROWS, 28), and labels 0 or 1, int64 (BLOCK_ROWS,)."""
    rng = np.random.default_rng([seed, block, STREAM])
    labels = (rng.random(BLOCK_ROWS) < SIGNAL_SHARE).astype(np.int64)
    v = rng.standard_normal((BLOCK_ROWS, FEATURES))
    v[:, HALF:] += (labels[:, None] - 0.5) * _constants()[0] + _tangle(v[:, :HALF])
    v[:, SKEWED] = np.exp(v[:, SKEWED] * _scales())
    return v.astype(np.float32), labels


def draw(rows: int, seed: int) -> Iterator[tuple[NDArray, NDArray]]:
    """The first `rows` rows, a block at a time; the last block is shorter."""
    starts = range(0, rows, BLOCK_ROWS)
    for block, start in enumerate(progress(starts, "drawing rows", len(starts))):
        x, y = draw_block(seed, block)
        yield x[: rows - start], y[: rows - start]


@cache
def _constants() -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """The same for every seed: the difference of the classes' means (14,), and those of f.

    frequencies F (14, SINES), phases φ (SINES,), weights W (SINES, 14): f(v) = sin(v F + φ) W.
    """
    rng = np.random.default_rng([0, 0, STREAM])
    direction = rng.choice([-1.0, 1.0], HALF) * rng.uniform(0.5, 1.5, HALF)
    frequencies = np.zeros((HALF, SINES))
    for sine in range(SINES):
        chosen = rng.choice(HALF, COORDINATES_PER_SINE, replace=False)
        frequencies[chosen, sine] = rng.normal(0, FREQUENCY, COORDINATES_PER_SINE)
    weights = rng.standard_normal((SINES, HALF))
    weights *= AMPLITUDE / np.sqrt(np.square(weights).sum(axis=0) / 2)  # a sine's variance is 1/2
    shift = SHIFT_LENGTH * direction / np.linalg.norm(direction)
    return shift, frequencies, rng.uniform(0, 2 * np.pi, SINES), weights


def _tangle(v: NDArray) -> NDArray:
    _, frequencies, phases, weights = _constants()
    return np.sin(v @ frequencies + phases) @ weights


def _scales() -> NDArray:
    """Of the skew features, so that SKEWNESS is the same in all of them."""
    sd = np.where(np.arange(FEATURES) < HALF, 1.0, np.hypot(1.0, AMPLITUDE))
    return SKEWNESS / sd[SKEWED]


# The data set.


def rows_of(name: str) -> int | None:
    """The number of rows that `name` asks for; None if it asks for other data.

    UserError unless the number is within the limits.
    """
    kind, colon, digits = name.partition(":")
    if kind != NAME:
        return None
    rows = int(digits) if re.fullmatch("[0-9]{1,9}", digits) else 0
    if not colon:
        return DEFAULT_ROWS
    if TEST_DIVISOR <= rows <= MOST_ROWS:
        return rows
    raise UserError(
        f"{name}: {digits!r} is not a number of rows; give a whole number from {TEST_DIVISOR} to "
        f"{MOST_ROWS}, such as {NAME}:2600000"
    )


def load_higgs_like(rows: int, seed: int, split: Split) -> Dataset:
    """Two classes of which the best possible AUC is known: see above."""
    origin = origin_of(rows, seed)
    split.check_batch(rows - count_test_rows(origin.path, rows))
    return load_cached(origin, split, str(origin.path), origin.words)


def origin_of(rows: int, seed: int) -> Origin:
    """The rows, told from others by their number, the seed and the version of the generator."""
    return Origin(
        title=NAME,
        words=f"generated in the form of HIGGS, version {VERSION}, with seed {seed}; the best "
        f"possible AUC is {BAYES_AUC}",
        path=Path(f"{NAME}:{rows}"),
        key=f"{NAME}-{rows}-{seed}",
        identity={"rows": rows, "seed": seed, "version": VERSION},
        making=f"drawing {rows:,} rows with seed {seed}",
        changed="the generator has changed",
        read=partial(draw, rows, seed),
    )


def write_higgs_like(path: Path, rows: int, seed: int) -> None:
    """Write the rows in UCI's layout, gzipped if the name ends in .gz; nothing is left by a fault.

    UserError if there is such a file already, or if it cannot be written.
    """
    import pyarrow
    from pyarrow import csv

    if path.exists():
        raise UserError(f"{path}: exists already; delete it, or choose another name")
    names = [str(column) for column in range(1 + FEATURES)]
    options = csv.WriteOptions(include_header=False, quoting_style="none")
    try:
        with ExitStack() as stack:
            file: Any = stack.enter_context(replace_atomically(path))
            if path.suffix == ".gz":  # no name and no time in it: the same rows, the same file
                file = gzip.GzipFile("", "wb", GZIP_LEVEL, fileobj=file, mtime=0)
                stack.enter_context(file)
            for x, y in draw(rows, seed):
                columns = [y.astype(np.float64), *x.T.astype(np.float64)]
                csv.write_csv(pyarrow.table(columns, names), file, options)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); make room there, or choose "
            "another folder"
        ) from error
