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
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets.dataset import Dataset
from datasets.higgs import FEATURES, TEST_DIVISOR, count_test_rows
from datasets.higgs.cache import Origin, dataset_of, open_rows
from datasets.splits import Split
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.progress import progress
from new_algorithm.record.files import replace_atomically

NAME = "higgs-like"
DEFAULT_ROWS = 100_000
MOST_ROWS = 100_000_000
MOST_DIGITS = len(str(MOST_ROWS))
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
    v[:, HALF:] += (labels[:, None] - 0.5) * _constants().shift + _tangle(v[:, :HALF])
    v[:, SKEWED] = np.exp(v[:, SKEWED] * _scales())
    return v.astype(np.float32), labels


def draw(rows: int, seed: int) -> Iterator[tuple[NDArray, NDArray]]:
    """The first `rows` rows, a block at a time; the last block is shorter."""
    for block, start in enumerate(range(0, rows, BLOCK_ROWS)):
        x, y = draw_block(seed, block)
        yield x[: rows - start], y[: rows - start]


def bayes_score(x: NDArray) -> NDArray:
    """log p(x | 1) − log p(x | 0), float64 (n,), of features x (n, 28)."""
    v = x.astype(np.float64)
    v[:, SKEWED] = np.log(v[:, SKEWED]) / _scales()
    return (v[:, HALF:] - _tangle(v[:, :HALF])) @ _constants().shift


class _Constants(NamedTuple):
    """The same for every seed.

    shift: difference of the classes' means, (14,). frequencies (14, SINES), phases (SINES,) and
    weights (SINES, 14): f(v) = sin(v @ frequencies + phases) @ weights.
    """

    shift: NDArray
    frequencies: NDArray
    phases: NDArray
    weights: NDArray


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


def _tangle(v: NDArray) -> NDArray:
    constants = _constants()
    return np.sin(v @ constants.frequencies + constants.phases) @ constants.weights


def _scales() -> NDArray:
    """Of the skew features, so that SKEWNESS is the same in all of them."""
    sd = np.where(np.arange(FEATURES) < HALF, 1.0, np.hypot(1.0, AMPLITUDE))
    return SKEWNESS / sd[SKEWED]


# The data set.


def is_higgs_like(name: str) -> bool:
    """Whether a data set's name asks for these data; `rows_of` checks the rest of it."""
    return name.partition(":")[0] == NAME


def rows_of(name: str) -> int:
    """The number of rows that `name` asks for; UserError unless it is within the limits."""
    _, colon, digits = name.partition(":")
    if not colon:
        return DEFAULT_ROWS
    if digits.isascii() and digits.isdigit() and len(digits) <= MOST_DIGITS:
        rows = int(digits)
        if TEST_DIVISOR <= rows <= MOST_ROWS:
            return rows
    raise UserError(
        f"{name}: {digits!r} is not a number of rows; give a whole number from {TEST_DIVISOR} to "
        f"{MOST_ROWS}, such as {NAME}:2600000"
    )


def load_higgs_like(rows: int, seed: int, split: Split, cache_dir: Path | None = None) -> Dataset:
    """Two classes of which the best possible AUC is known: see generator.py."""
    cached = open_rows(origin_of(rows, seed), cache_dir)
    return dataset_of(cached, split, f"{NAME}:{rows}", describe(seed))


def count_generated_training_rows(rows: int) -> int:
    """Rows before the test set; none is drawn."""
    return rows - count_test_rows(Path(f"{NAME}:{rows}"), rows)


def describe(seed: int) -> str:
    """Where the rows come from, for records."""
    return (
        f"generated in the form of HIGGS, version {VERSION}, with seed {seed}; the best possible "
        f"AUC is {BAYES_AUC}"
    )


def write_higgs_like(path: Path, rows: int, seed: int) -> None:
    """Write the rows in UCI's layout, gzipped if the name ends in .gz; nothing is left by a fault.

    UserError if there is such a file already, or if it cannot be written.
    """
    if path.exists():
        raise UserError(f"{path}: exists already; delete it, or choose another name")
    try:
        with ExitStack() as stack:
            file: Any = stack.enter_context(replace_atomically(path))
            if path.suffix == ".gz":  # no name and no time in it: the same rows, the same file
                file = gzip.GzipFile("", "wb", GZIP_LEVEL, fileobj=file, mtime=0)
                stack.enter_context(file)
            _write_csv(file, rows, seed)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); make room there, or choose "
            "another folder"
        ) from error


def _write_csv(file: Any, rows: int, seed: int) -> None:
    import pyarrow
    from pyarrow import csv

    schema = pyarrow.schema([(str(column), pyarrow.float64()) for column in range(1 + FEATURES)])
    options = csv.WriteOptions(include_header=False, quoting_style="none")
    writer = csv.CSVWriter(file, schema, write_options=options)
    for x, y in _draw_with_progress(rows, seed):
        columns = [y.astype(np.float64), *x.T.astype(np.float64)]
        writer.write_batch(
            pyarrow.RecordBatch.from_arrays(list(map(pyarrow.array, columns)), schema=schema)
        )


def _draw_with_progress(rows: int, seed: int) -> Iterable[tuple[NDArray, NDArray]]:
    return progress(draw(rows, seed), "drawing rows", total=-(-rows // BLOCK_ROWS))


def origin_of(rows: int, seed: int) -> Origin:
    """The rows, told from others by their number, the seed and the version of the generator."""
    return Origin(
        title=NAME,
        path=Path(f"{NAME}:{rows}"),
        key=f"{NAME}-{rows}-{seed}",
        identity={"rows": rows, "seed": seed, "version": VERSION},
        making=f"drawing {rows:,} rows with seed {seed}",
        changed="the generator has changed",
        read=partial(_draw_with_progress, rows, seed),
    )
