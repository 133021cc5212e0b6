"""Rows in the form of HIGGS, kept from one run to the next in a folder of the cache.

It holds features.npy, float32 (n, 28) as read, with labels.npy, int64 (n,), described by rows.json;
and for each split in use scaled_SPLIT.npy, float32, its training rows followed by its held-out
rows.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from datasets.cached_arrays import Arrays, Built, CachedArrays, Place
from datasets.dataset import Dataset, HeldOut, Split
from datasets.higgs.csv_rows import FEATURES
from datasets.mapped_files import Standardiser
from datasets.preprocessing import Preprocessing
from datasets.tabular import FEATURE_SCALING, check_scaled, feature_names
from datasets.targets import check_classes
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.progress import byte_progress

TEST_ROWS = 500_000
ROWS_FOR_THAT_TEST_SET = 2_600_000
LABELS = (0, 1)
TEST_DIVISOR = 5  # of fewer rows, one in five is a test row


def count_test_rows(path: Path, rows: int) -> int:
    """How many of the last rows are the test set; UserError if they are too few to split."""
    if rows < TEST_DIVISOR:
        raise UserError(
            f"{path}: {rows} rows are too few for a test set: {TEST_DIVISOR} or more are needed"
        )
    return TEST_ROWS if rows >= ROWS_FOR_THAT_TEST_SET else rows // TEST_DIVISOR


@dataclass(frozen=True)
class Origin(Place):
    """What the rows are made of.

    words: for records, naming no folder of this machine. identity, making: see CachedArrays.
    read: yields features, float32 (n, 28), and labels, int64 (n,), of one block after another.
    """

    words: str
    identity: dict[str, Any]
    making: str
    read: Callable[[], Iterable[tuple[NDArray, NDArray]]]


def load_cached(origin: Origin, split: Split, name: str, source: str) -> Dataset:
    """The rows as a classification, held-out rows and limits as `split` says.

    They are read into the cache, and standardised there, unless that was done before. UserError
    for faulty rows, which leaves an older cache as it was, and for a folder that cannot be written.
    """
    rows, sha256, _ = _rows(origin).open()
    train, test = len(rows["y_train"]), len(rows["y_test"])
    split.check_batch(train)
    arrays = split.hold_out(rows)
    check_classes(f"{origin.path}: the label", LABELS, arrays["y_train"], arrays["y_test"])
    opened = _scaled(origin, rows, sha256, split).open()
    scaled, end = opened.parts["scaled"], len(arrays["x_train"])
    used: Any = split.limit(arrays | {"x_train": scaled[:end], "x_test": scaled[end:]})
    return Dataset(
        **used,
        name=name,
        num_classes=len(LABELS),
        held_out=split.held_out,
        source=f"{source}, the last {test:,} of {train + test:,} rows being the test set",
        scaling=FEATURE_SCALING,
        sha256=sha256,
        labels=LABELS,
        preprocessing=Preprocessing.from_json(opened.about),
    )


def verify_rows(origin: Origin) -> int:
    """How many rows there are; every byte in the cache is checked, what differs is rebuilt."""
    rows, sha256, _ = _rows(origin).open()
    for held_out in get_args(HeldOut):
        scaled = _scaled(origin, rows, sha256, Split(held_out))
        if scaled.description.exists():
            scaled.open()
    return len(rows["y_train"]) + len(rows["y_test"])


def _rows(origin: Origin) -> CachedArrays:
    """The rows as read; parts: x_train, y_train, x_test and y_test."""

    def blocks() -> Iterator[tuple[NDArray, NDArray]]:
        rows = 0
        for features, labels in origin.read():
            yield features, labels
            rows += len(labels)
        count_test_rows(origin.path, rows)  # too few are refused, nothing is replaced

    def parts(x: NDArray, y: NDArray) -> Arrays:
        end = len(y) - count_test_rows(origin.path, len(y))
        return {"x_train": x[:end], "y_train": y[:end], "x_test": x[end:], "y_test": y[end:]}

    columns = {"features": (np.float32, (FEATURES,)), "labels": (np.int64, ())}
    return CachedArrays(
        *(origin, "rows", origin.identity, origin.making),
        build=lambda: Built(columns, blocks(), {}),
        parts=parts,
    )


def _scaled(origin: Origin, rows: Arrays, sha256: dict[str, str], split: Split) -> CachedArrays:
    """x_train and x_test of a split, one after the other, standardised by x_train."""
    name = f"scaled_{split.held_out}"

    def blocks(unscaled: Arrays, standardise: Standardiser) -> Iterator[tuple[NDArray]]:
        with byte_progress("standardising", sum(x.nbytes for x in unscaled.values())) as progress:
            for key, x in unscaled.items():
                for _, block in standardise.blocks(x):
                    yield (check_scaled(origin.path, key, block),)
                    progress.update(block.nbytes)

    def build() -> Built:
        arrays = split.hold_out(rows)
        unscaled = {key: arrays[key] for key in ("x_train", "x_test")}
        standardise = Standardiser.fit(unscaled["x_train"])
        about = Preprocessing.of_numbers(feature_names(FEATURES), standardise).to_json()
        return Built({name: (np.float32, (FEATURES,))}, blocks(unscaled, standardise), about)

    return CachedArrays(
        *(origin, name, {"rows": sha256}, f"standardising for {split.held_out}"),
        build=build,
        parts=lambda scaled: {"scaled": scaled},
    )
