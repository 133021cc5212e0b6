"""The data sets `higgs-like` and `higgs-like:ROWS`, cached as HIGGS is."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np

from datasets.dataset import Dataset
from datasets.higgs.cache import Origin, open_rows, verify_rows
from datasets.higgs.form import TEST_SHARE, count_test_rows
from datasets.higgs.like import BAYES_AUC, BLOCK_ROWS, VERSION, draw
from datasets.higgs.load import dataset_of
from datasets.splits import Split
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.progress import progress

NAME = "higgs-like"
DEFAULT_ROWS = 100_000
MOST_ROWS = 100_000_000
MOST_DIGITS = len(str(MOST_ROWS))


def is_higgs_like(name: str) -> bool:
    """Whether a data set's name asks for these data; `rows_of` checks the rest of it."""
    return name.partition(":")[0] == NAME


def rows_of(name: str) -> int:
    """The number of rows that `name` asks for; UserError unless it is one that can be had."""
    _, colon, digits = name.partition(":")
    if not colon:
        return DEFAULT_ROWS
    if digits.isascii() and digits.isdigit() and len(digits) <= MOST_DIGITS:
        rows = int(digits)
        if TEST_SHARE <= rows <= MOST_ROWS:
            return rows
    raise UserError(
        f"{name}: {digits!r} is no number of rows; give a whole number from {TEST_SHARE} to "
        f"{MOST_ROWS}, such as {NAME}:2600000"
    )


def load_higgs_like(name: str, split: Split, seed: int, cache_dir: Path | None = None) -> Dataset:
    """Two classes of which the best possible AUC is known: see like.py."""
    rows = rows_of(name)
    return dataset_of(
        open_rows(_origin(rows, seed), cache_dir), split, f"{NAME}:{rows}", describe(seed)
    )


def count_training_rows(name: str) -> int:
    """Rows before the test set; none is drawn."""
    rows = rows_of(name)
    return rows - count_test_rows(Path(name), rows)


def verify_higgs_like(name: str, seed: int, cache_dir: Path | None = None) -> int:
    """How many rows there are, after each byte of the cache was compared with what was written."""
    return len(verify_rows(open_rows(_origin(rows_of(name), seed), cache_dir)).labels)


def draw_with_progress(rows: int, seed: int) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Features and labels of one block after another, behind a bar."""
    return progress(draw(rows, seed), "drawing rows", total=-(-rows // BLOCK_ROWS))


def describe(seed: int) -> str:
    """Where the rows come from, for records."""
    return (
        f"generated in the form of HIGGS, version {VERSION}, with seed {seed}; the best possible "
        f"AUC is {BAYES_AUC}"
    )


def _origin(rows: int, seed: int) -> Origin:
    return Origin(
        title=NAME,
        path=Path(f"{NAME}:{rows}"),
        key=f"{NAME}-{rows}-{seed}",
        identity={"rows": rows, "seed": seed, "version": VERSION},
        making=f"drawing {rows:,} rows with seed {seed}",
        changed="the generator has changed",
        read=partial(draw_with_progress, rows, seed),
    )
