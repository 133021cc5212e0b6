"""On a sample of the real events, where it lies on this machine."""

import csv
import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from datasets import load_dataset

SAMPLE = Path(os.environ.get("BACK_PROJECTION_DATASETS", "")) / "HIGGS_sample_11k.csv.gz"

pytestmark = pytest.mark.skipif(not SAMPLE.is_file(), reason="no sample of HIGGS on this machine")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The sample alone, should the whole file lie beside it."""
    alone = tmp_path_factory.mktemp("higgs")
    (alone / SAMPLE.name).symlink_to(SAMPLE.absolute())
    return alone


@pytest.fixture(scope="module")
def dataset(folder):
    return load_dataset("higgs", data_dir=folder)


def test_the_rows_are_counted_and_split(dataset):
    assert dataset.x_train.shape == (8_788, 28)
    assert dataset.x_test.shape == (2_196, 28)
    assert np.bincount(np.r_[dataset.y_train, dataset.y_test]).tolist() == [5_163, 5_821]


@pytest.mark.parametrize(
    ("held_out", "hashes"),
    [
        ("test", "08ca48204c2bcc67 ea4258b4db92c404"),
        ("validation", "1c9c324d4bc7a730 e22e893afab37d0c"),
        ("unseen", "1c9c324d4bc7a730 ea4258b4db92c404"),
    ],
)
def test_the_splits_are_those_of_published_runs(folder, held_out, hashes):
    """By their labels; standardised features depend on a sum's rounding."""
    part = load_dataset("higgs", data_dir=folder, held_out=held_out)
    found = [hashlib.sha256(y.tobytes()).hexdigest()[:16] for y in (part.y_train, part.y_test)]
    assert found == hashes.split()


def test_the_training_features_have_mean_0_and_sd_1(dataset):
    x = dataset.x_train.astype(np.float64)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(x.std(axis=0), 1, atol=1e-5)


def test_the_values_are_those_that_the_standard_library_reads(dataset):
    with gzip.open(SAMPLE, "rt", newline="") as file:
        rows = np.array([[float(field) for field in row] for row in csv.reader(file)])
    features = rows[:, 1:]
    expected = (features - features[:8_788].mean(axis=0)) / features[:8_788].std(axis=0)
    np.testing.assert_allclose(dataset.x_test, expected[8_788:], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(dataset.y_test, rows[8_788:, 0])
