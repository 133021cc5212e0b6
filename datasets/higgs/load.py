"""HIGGS, split by the order of its rows and scaled for training."""

from pathlib import Path

import numpy as np

from datasets.dataset import Dataset
from datasets.higgs.cache import STEP, Rows, open_rows, open_scaled, verify_rows
from datasets.higgs.csv_origin import csv_origin
from datasets.higgs.sources import HiggsSource, locate_higgs
from datasets.mapped_pages import row_blocks
from datasets.npz_checks import count_classes
from datasets.splits import Split

CITATION = (
    "Baldi, Sadowski, Whiteson, Nature Communications 5:4308, 2014; UCI HIGGS data set, CC BY 4.0"
)


def load_higgs(data_dir: Path | None, split: Split, cache_dir: Path | None = None) -> Dataset:
    """The first HIGGS found: 28 features of a collision, label 1 for a Higgs boson.

    The csv is read once, into a cache of which the arrays are read-only maps: their rows are in
    memory only while they are used.
    """
    source = locate_higgs(data_dir)
    rows = open_rows(csv_origin(source), cache_dir)
    return dataset_of(rows, split, "higgs", f"{source} ({CITATION})")


def count_training_rows(data_dir: Path | None, cache_dir: Path | None = None) -> int:
    """Rows before the test set; where they were not read yet, they are now."""
    return len(open_rows(csv_origin(locate_higgs(data_dir)), cache_dir).parts()["y_train"])


def verify_higgs(source: HiggsSource, cache_dir: Path | None = None) -> int:
    """How many rows there are, every one of them sound, and so the cache."""
    return len(verify_rows(open_rows(csv_origin(source), cache_dir)).labels)


def dataset_of(rows: Rows, split: Split, name: str, source: str) -> Dataset:
    """The rows as a classification, held-out rows and limits as `split` says."""
    path, whole = rows.origin.path, rows.parts()
    arrays = split.hold_out(whole)
    num_classes = count_classes(path, _classes(arrays["y_train"]), _classes(arrays["y_test"]))
    unscaled = {name: arrays[name] for name in ("x_train", "x_test")}
    arrays = split.limit(arrays | open_scaled(rows, split.held_out, unscaled))
    return Dataset(
        name=name,
        **arrays,
        num_classes=num_classes,
        held_out=split.held_out,
        source=f"{source}, the last {len(whole['y_test']):,} of {len(rows.labels):,} rows being "
        "the test set",
        scaling="features standardised with the mean and standard deviation of all training rows "
        "that are not held out",
        sha256=rows.facts.sha256,
    )


def _classes(labels: np.ndarray) -> np.ndarray:
    return np.unique(np.concatenate([np.unique(block) for _, block in row_blocks(labels, STEP)]))
