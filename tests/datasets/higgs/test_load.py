import mmap
from pathlib import Path

import numpy as np
import pytest

from datasets import load_dataset
from datasets.dataset import hash_arrays
from datasets.higgs.cache import count_test_rows
from new_algorithm.cli.errors import UserError

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture
def load(tmp_path, write_higgs):
    """load(rows, **options) -> the Dataset of a file that holds these rows."""

    def from_rows(rows, **options):
        write_higgs(tmp_path / "HIGGS_sample.csv", rows)
        return load_dataset("higgs", data_dir=tmp_path, **options)

    return from_rows


def test_the_form_is_the_common_one(load, higgs_rows):
    rows = higgs_rows(61)
    dataset = load(rows)
    assert dataset.x_train.shape == (49, 28)
    assert dataset.x_test.shape == (12, 28)
    assert dataset.x_train.dtype == dataset.x_test.dtype == np.float32
    assert dataset.y_train.dtype == dataset.y_test.dtype == np.int64
    assert dataset.x_train.flags.c_contiguous
    assert not dataset.x_train.flags.writeable
    assert dataset.num_classes == 2
    features = rows[:, 1:]
    expected = (features - features[:49].mean(axis=0)) / features[:49].std(axis=0)
    np.testing.assert_allclose(dataset.x_train, expected[:49], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(dataset.x_test, expected[49:], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(np.r_[dataset.y_train, dataset.y_test], rows[:, 0])


def test_all_arrays_stay_in_their_files(load, higgs_rows):
    dataset = load(higgs_rows(61), held_out="validation", train_limit=20)
    for array in (dataset.x_train, dataset.y_train, dataset.x_test, dataset.y_test):
        owner = array
        while isinstance(owner, np.ndarray):
            owner = owner.base
        assert isinstance(owner, mmap.mmap)


def test_provenance_says_what_was_read_and_no_folder(load, higgs_rows, tmp_path):
    rows = higgs_rows(30)
    provenance = load(rows, held_out="validation", train_limit=5).provenance()
    assert provenance["name"] == "higgs"
    assert provenance["counts"] == {"train": 5, "validation": 4}
    assert "HIGGS_sample.csv in the folder named by --data-dir" in provenance["source"]
    assert "5:4308" in provenance["source"]
    assert "the last 6 of 30 rows" in provenance["source"]
    assert str(tmp_path) not in str(provenance)
    features, labels = rows[:, 1:].astype(np.float32), rows[:, 0].astype(np.int64)
    assert provenance["sha256"] == hash_arrays(
        {
            "x_train": features[:24],
            "y_train": labels[:24],
            "x_test": features[24:],
            "y_test": labels[24:],
        }
    )


@pytest.mark.parametrize("held_out", ["test", "validation", "unseen"])
def test_rows_that_are_not_trained_on_never_influence_the_scaling(load, higgs_rows, held_out):
    rows = higgs_rows(60)
    before = load(rows, held_out=held_out)
    rows[len(before.x_train) :, 1:] *= 1000
    after = load(rows, held_out=held_out)
    np.testing.assert_array_equal(after.x_train, before.x_train)
    assert not np.array_equal(after.x_test, before.x_test)


def test_training_rows_influence_the_scaling_beyond_a_limit(load, higgs_rows):
    rows = higgs_rows(60)
    limited = load(rows, train_limit=10, test_limit=3)
    whole = load(rows)
    np.testing.assert_array_equal(limited.x_train, whole.x_train[:10])
    np.testing.assert_array_equal(limited.y_test, whole.y_test[:3])


def test_validation_is_the_last_sixth_of_the_training_rows(load, higgs_rows):
    rows = higgs_rows(60)
    part = load(rows, held_out="validation")
    np.testing.assert_array_equal(part.y_train, rows[:40, 0])
    np.testing.assert_array_equal(part.y_test, rows[40:48, 0])
    features = rows[:, 1:]
    expected = (features[40:48] - features[:40].mean(axis=0)) / features[:40].std(axis=0)
    np.testing.assert_allclose(part.x_test, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("held_out", ["test", "validation", "unseen"])
@pytest.mark.parametrize("limit", [None, 7, 1000])
def test_a_batch_may_have_as_many_rows_as_are_trained_on(load, higgs_rows, held_out, limit):
    options = {"held_out": held_out, "train_limit": limit}
    rows = len(load(higgs_rows(53), **options).x_train)
    load(higgs_rows(53), batch_size=rows, **options)
    with pytest.raises(UserError, match=f"more than the {rows} training samples"):
        load(higgs_rows(53), batch_size=rows + 1, **options)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(5, 1), (10_984, 2_196), (2_599_999, 519_999), (2_600_000, 500_000), (11_000_000, 500_000)],
)
def test_the_test_set_is_ucis_or_the_last_fifth_of_a_smaller_file(rows, expected):
    assert count_test_rows(Path("HIGGS.csv"), rows) == expected


def test_too_few_rows_are_refused(tmp_path, higgs_rows, higgs_csv):
    (tmp_path / "HIGGS.csv").write_bytes(higgs_csv(higgs_rows(4)))
    with pytest.raises(UserError, match=r"HIGGS\.csv: 4 rows are too few"):
        load_dataset("higgs", data_dir=tmp_path)


def test_a_single_class_is_refused(load, higgs_rows):
    rows = higgs_rows(20)
    rows[:16, 0] = 1
    with pytest.raises(UserError, match="one class only, 1"):
        load(rows)


def test_rows_that_are_all_the_same_are_zero(load, higgs_rows):
    rows = np.repeat(higgs_rows(1), 20, axis=0)
    rows[::2, 0] = 1
    dataset = load(rows)
    assert np.all(dataset.x_train == 0)
    assert np.all(dataset.x_test == 0)


def test_a_class_that_training_lacks_is_refused(load, higgs_rows):
    rows = higgs_rows(24)
    rows[:17, 0] = 1  # of the 20 training rows, the last 3 are held out for validation
    with pytest.raises(UserError, match="one class only, 1"):
        load(rows, held_out="validation")
    assert load(rows).num_classes == 2


def test_a_constant_feature_is_zero(load, higgs_rows):
    rows = higgs_rows(20)
    rows[:, 7] = 0.1
    dataset = load(rows)
    assert np.all(dataset.x_train[:, 6] == 0)
    assert np.all(dataset.x_test[:, 6] == 0)


def test_outliers_beyond_float32_once_standardised_are_refused(load, higgs_rows):
    rows = higgs_rows(20)
    rows[:16, 7] *= 1e-20
    rows[16:, 7] = 1e30
    with pytest.raises(UserError, match=r"HIGGS_sample\.csv: x_test leaves the range of float32"):
        load(rows)
    assert load(rows, held_out="validation").num_classes == 2  # those rows do not enter


def test_a_data_dir_without_higgs_is_refused(tmp_path):
    with pytest.raises(UserError, match=f"no HIGGS in {tmp_path}: put HIGGS"):
        load_dataset("higgs", data_dir=tmp_path)


def test_a_limit_below_one_is_refused_before_the_file_is_read(tmp_path):
    (tmp_path / "HIGGS.csv").write_bytes(b"bad")
    with pytest.raises(UserError, match="train_limit 0"):
        load_dataset("higgs", data_dir=tmp_path, train_limit=0)
