"""HIGGS, split by the order of its rows and scaled for training."""

from pathlib import Path

import numpy as np

from datasets.dataset import Dataset, hash_arrays
from datasets.higgs_csv import count_rows, read_blocks
from datasets.higgs_sources import locate_higgs
from datasets.npz_checks import check_scaled, count_classes
from datasets.splits import Split
from datasets.standardise import Standardiser
from new_algorithm.lab.errors import UserError

TEST_ROWS = 500_000
ROWS_FOR_THAT_TEST_SET = 2_600_000
TEST_SHARE = 5  # one row in five of a smaller file
CITATION = (
    "Baldi, Sadowski, Whiteson, Nature Communications 5:4308, 2014; UCI HIGGS data set, CC BY 4.0"
)


def load_higgs(data_dir: Path | None, split: Split) -> Dataset:
    """The first HIGGS file found: 28 features of a collision, label 1 for a Higgs boson."""
    source, path = locate_higgs(data_dir)
    loaded = _read(path)
    arrays = split.hold_out(loaded)
    num_classes = count_classes(path, arrays["y_train"], arrays["y_test"])
    standardise = Standardiser.fit(arrays["x_train"])
    arrays = split.limit(arrays)
    test, rows = len(loaded["y_test"]), len(loaded["y_train"]) + len(loaded["y_test"])
    return Dataset(
        name="higgs",
        x_train=check_scaled(path, "x_train", standardise(arrays["x_train"])),
        y_train=arrays["y_train"],
        x_test=check_scaled(path, "x_test", standardise(arrays["x_test"])),
        y_test=arrays["y_test"],
        num_classes=num_classes,
        held_out=split.held_out,
        source=f"{source} ({CITATION}), the last {test:,} of {rows:,} rows being the test set",
        scaling="features standardised with the mean and standard deviation of all training rows "
        "that are not held out",
        sha256=hash_arrays(loaded),
    )


def count_training_rows(data_dir: Path | None) -> int:
    """Rows before the test set, counted without parsing them."""
    _, path = locate_higgs(data_dir)
    rows = count_rows(path)
    return rows - count_test_rows(path, rows)


def count_test_rows(path: Path, rows: int) -> int:
    """How many of the file's last rows are the test set; UserError if it has too few to split."""
    if rows < TEST_SHARE:
        raise UserError(
            f"{path}: {rows} rows are too few to set a test set apart: {TEST_SHARE} or more are "
            "needed"
        )
    return TEST_ROWS if rows >= ROWS_FOR_THAT_TEST_SET else rows // TEST_SHARE


def _read(path: Path) -> dict[str, np.ndarray]:
    x, y = (np.concatenate(blocks) for blocks in zip(*read_blocks(path), strict=True))
    end = len(y) - count_test_rows(path, len(y))
    return {"x_train": x[:end], "y_train": y[:end], "x_test": x[end:], "y_test": y[end:]}
