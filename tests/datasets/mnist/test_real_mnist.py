"""On the real data, where they lie on this machine; never fetched."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datasets import load_dataset
from datasets.mnist import find_mnist
from datasets.sources import OWN_FOLDER

ROOT = Path(__file__).resolve().parents[3]
FOLDER = Path(os.environ.get("BACK_PROJECTION_DATASETS") or OWN_FOLDER)

pytestmark = pytest.mark.skipif(
    not (FOLDER / "mnist.npz").is_file(), reason="no mnist.npz on this machine"
)


@pytest.fixture(scope="module")
def dataset():
    return load_dataset("mnist", data_dir=FOLDER)


def test_the_arrays_are_the_official_idx_files():
    """The published MD5s of the unzipped files, rebuilt from our arrays and the IDX headers."""
    _, arrays = find_mnist(FOLDER)
    headers = {
        "x_train": "00000803 0000ea60 0000001c 0000001c",
        "y_train": "00000801 0000ea60",
        "x_test": "00000803 00002710 0000001c 0000001c",
        "y_test": "00000801 00002710",
    }
    md5 = {
        key: hashlib.md5(bytes.fromhex(header) + arrays[key].tobytes()).hexdigest()
        for key, header in headers.items()
    }
    assert md5 == {
        "x_train": "6bbc9ace898e44ae57da46a324031adb",
        "y_train": "a25bea736e30d166cdddb491f175f624",
        "x_test": "2646ac647ad5339dbf082846283269ea",
        "y_test": "27ae3e4e09519cfbb04c329615203637",
    }


def test_the_training_pixels_have_mean_0_and_sd_1(dataset):
    assert dataset.x_train.shape == (60_000, 784)
    assert dataset.x_test.shape == (10_000, 784)
    assert dataset.x_train.mean(dtype=np.float64) == pytest.approx(0, abs=2e-4)
    assert dataset.x_train.std(dtype=np.float64) == pytest.approx(1, abs=2e-4)


def test_the_labels_are_known(dataset):
    assert dataset.y_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert dataset.y_test[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(dataset.y_train)[1] == 6742


def test_validation_is_the_last_10000_training_images(dataset):
    part = load_dataset("mnist", data_dir=FOLDER, held_out="validation")
    np.testing.assert_array_equal(part.x_test, dataset.x_train[50_000:])
    np.testing.assert_array_equal(part.y_train, dataset.y_train[:50_000])
    assert len(part.x_train) == 50_000


@pytest.mark.parametrize(
    ("held_out", "hashes"),
    [
        ("test", "a32116bb66cc0718 e474323ac02fc156 386fffd00ca9dc14 2fd8de6bdb8d1178"),
        ("validation", "cd47c975b7497a33 3fc61c21900fc0b5 b61bf16ef7f923c0 bfddcd2fec192366"),
        ("unseen", "cd47c975b7497a33 3fc61c21900fc0b5 386fffd00ca9dc14 2fd8de6bdb8d1178"),
    ],
)
def test_the_splits_are_those_of_published_runs_to_the_bit(held_out, hashes):
    part = load_dataset("mnist", data_dir=FOLDER, held_out=held_out)
    arrays = part.x_train, part.y_train, part.x_test, part.y_test
    assert [hashlib.sha256(a.tobytes()).hexdigest()[:16] for a in arrays] == hashes.split()


def test_the_command_says_where_it_is():
    finished = subprocess.run(
        [sys.executable, "-m", "datasets", "mnist"],
        cwd=ROOT,
        env={"BACK_PROJECTION_DATASETS": str(FOLDER)},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0
    assert "\nMNIST: verified, from mnist.npz in " in finished.stdout
