"""Small tables, written as files of any kind."""

import csv
import gzip
import io

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from datasets import load_dataset


@pytest.fixture
def rows():
    """rows(n) -> names and columns of a table of two numbers, a text and three classes."""

    def make(count=60, seed=0):
        rng = np.random.default_rng(seed)
        kind = np.arange(count) % 3
        return {
            "length": np.round(rng.normal(kind * 3, 1), 6).tolist(),
            "width": np.round(rng.exponential(2, count), 6).tolist(),
            "colour": [("red", "green", "blue", "black")[i] for i in rng.integers(0, 4, count)],
            "species": [("setosa", "virginica", "Versicolor")[i] for i in kind],
        }

    return make


@pytest.fixture
def write(tmp_path):
    """write(columns, name) -> the path of a file, its kind as the name says."""

    def write(columns, name="mine.csv", delimiter=",", header=True, ends="\n", comma="."):
        path = tmp_path / name
        if name.endswith(".parquet"):
            parquet.write_table(pyarrow.table(columns), path)
            return path
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=delimiter, lineterminator=ends)
        if header:
            writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            fields = ["" if field is None else str(field) for field in row]
            numeric = [isinstance(field, float) for field in row]
            writer.writerow(
                [f.replace(".", comma) if n else f for f, n in zip(fields, numeric, strict=True)]
            )
        content = text.getvalue().encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


@pytest.fixture
def load():
    """load(path, ...) -> the Dataset, with the target species unless another is named."""
    return lambda path, **options: load_dataset(str(path), **{"target": ["species"]} | options)
