"""`table:NAME`: the features of load_table, split and standardised."""

import numpy as np
import pytest

from datasets import check_name, load_dataset, sources
from datasets.dataset import TEST_SEED, drawn_rows
from datasets.public_tables.load import load_table
from new_algorithm.cli.errors import UserError


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "OWN_FOLDER", tmp_path)


@pytest.mark.parametrize("table", ["breast_cancer", "diabetes"])
def test_features_are_the_tables_standardised_by_the_training_rows(table):
    data, rows = load_dataset(f"table:{table}"), load_table(table)
    classes = table == "breast_cancer"
    test = drawn_rows(rows.y if classes else np.zeros(len(rows.y)), 5, TEST_SEED)
    x = rows.x.astype(np.float64)
    mean, sd = x[~test].mean(axis=0), x[~test].std(axis=0)
    for found, part in ((data.x_train, ~test), (data.x_test, test)):
        np.testing.assert_allclose(found, (x[part] - mean) / sd, rtol=1e-4, atol=1e-5)
    if classes:
        np.testing.assert_array_equal(data.y_train, rows.y[~test])
        assert (data.num_classes, data.y_test.dtype) == (2, np.int64)
    else:
        y = rows.y.astype(np.float64)
        centre, spread = y[~test].mean(), y[~test].std()
        expected = (y[test] - centre) / spread
        np.testing.assert_allclose(data.y_test[:, 0], expected, rtol=1e-4, atol=1e-5)
        assert data.num_classes is None
        np.testing.assert_allclose(data.target_scale.mean, centre, rtol=1e-6)


def test_validation_rows_are_a_sixth_of_the_training_rows_and_unseen_ones_the_test():
    whole, validation, unseen = (
        load_dataset("table:diabetes", held_out=part) for part in ("test", "validation", "unseen")
    )
    assert len(validation.x_test) == len(whole.x_train) // 6
    assert len(validation.x_train) + len(validation.x_test) == len(whole.x_train)
    np.testing.assert_array_equal(unseen.x_train, validation.x_train)
    assert len(unseen.x_test) == len(whole.x_test)


def test_a_record_names_table_and_split():
    facts = load_dataset("table:diabetes").provenance()
    assert facts["name"] == "table:diabetes"
    assert facts["source"].startswith("table load_diabetes of scikit-learn; of 442 rows a fifth")


@pytest.mark.parametrize("function", [check_name, load_dataset])
def test_an_unknown_table_is_one_line(function):
    with pytest.raises(UserError, match=r"^unknown table 'leter': choose ad_data,"):
        function("table:leter")


def test_options_and_batches_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match=r"^--target is for tables in files, table:diabetes is"):
        load_dataset("table:diabetes", target=["y"])
    with pytest.raises(UserError, match=r"^batch size 355 is more than the 354 training samples"):
        load_dataset("table:diabetes", batch_size=355)
