import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.preprocessing import UNKNOWN, Column, Preprocessing

COLUMNS = (Column("size"), Column("colour", ("blue", "green", "red")), Column("age"))


def table(rows=200, seed=0):
    rng = np.random.default_rng(seed)
    return np.column_stack(
        [rng.normal(1e6, 3, rows), rng.integers(0, 3, rows), rng.exponential(5, rows)]
    )


def with_holes(values, seed=1, share=0.2):
    values = values.copy()
    values[np.random.default_rng(seed).random(values.shape) < share] = np.nan
    return values


def test_columns_become_features_in_their_order():
    fitted = Preprocessing.fit(COLUMNS, table())
    assert fitted.features == ["size", "colour=blue", "colour=green", "colour=red", "age"]


def test_the_features_are_those_of_a_dense_oracle():
    values = table()
    dense = np.column_stack([values[:, 0], *(values[:, 1] == k for k in range(3)), values[:, 2]])
    found = Preprocessing.fit(COLUMNS, values).transform(values)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, (dense - dense.mean(0)) / dense.std(0), atol=1e-5)


def test_missing_values_become_the_median_and_an_indicator():
    values = with_holes(table())
    fitted = Preprocessing.fit(COLUMNS, values, missing="median")
    assert fitted.features == [
        *("size", "size is missing", "colour=blue", "colour=green", "colour=red"),
        *("colour is missing", "age", "age is missing"),
    ]
    own = fitted.expand(values)
    holes = np.isnan(values)
    np.testing.assert_array_equal(own[:, [1, 5, 7]], holes)
    for feature, column in ((0, 0), (6, 2)):
        median = np.nanmedian(values[:, column])
        expected = np.where(holes[:, column], median, values[:, column])
        np.testing.assert_array_equal(own[:, feature], expected)
    assert (own[holes[:, 1], 2:5] == 0).all()
    assert np.isfinite(fitted.transform(values)).all()


def test_rows_may_lack_what_training_rows_never_did():
    values = table()
    fitted = Preprocessing.fit(COLUMNS, values, missing="median")
    assert len(fitted.features) == 5
    lacking = np.full((1, 3), np.nan)
    own = fitted.expand(lacking)
    np.testing.assert_allclose(own[0], [np.median(values[:, 0]), 0, 0, 0, np.median(values[:, 2])])


def test_only_chosen_rows_enter_the_constants():
    values, chosen = with_holes(table()), np.arange(200) % 3 > 0
    part = Preprocessing.fit(COLUMNS, values, chosen, "median")
    assert part == Preprocessing.fit(COLUMNS, values[chosen], missing="median")
    assert part != Preprocessing.fit(COLUMNS, values, missing="median")


def test_constants_survive_and_what_training_lacks_is_zero_for_ever():
    values = np.array([[5.0, 1, 0.1], [5, 1, 0.1], [5, 1, 0.1]])
    fitted = Preprocessing.fit(COLUMNS, values)
    assert fitted.sds == (1, np.inf, 1, np.inf, 1)
    np.testing.assert_array_equal(fitted.transform(values), 0)
    other = np.array([[6.0, 2, 0.1]])
    np.testing.assert_array_equal(fitted.transform(other), [[1, 0, -1, 0, 0]])


def test_an_unknown_text_is_no_category():
    fitted = Preprocessing.fit(COLUMNS, table())
    assert (fitted.expand(np.array([[1.0, UNKNOWN, 1]]))[0, 1:4] == 0).all()


@given(st.integers(0, 1000), st.sampled_from(["refuse", "median"]), st.integers(1, 40))
def test_a_record_gives_the_same_preprocessing_to_the_last_bit(seed, missing, rows):
    values = table(rows, seed)
    if missing == "median":
        values = with_holes(values, seed)
    fitted = Preprocessing.fit(COLUMNS, values, missing=missing)
    again = Preprocessing.from_json(json.loads(json.dumps(fitted.to_json(), allow_nan=False)))
    assert again == fitted
    np.testing.assert_array_equal(again.transform(values), fitted.transform(values))


@given(st.integers(0, 1000))
def test_the_order_of_the_rows_does_not_matter(seed):
    values = with_holes(table(60, seed), seed)
    shuffled = np.random.default_rng(seed).permutation(values)
    one, other = (Preprocessing.fit(COLUMNS, v, missing="median") for v in (values, shuffled))
    assert one.columns == other.columns
    np.testing.assert_allclose(one.means, other.means, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(one.sds, other.sds, rtol=1e-9)


@given(st.integers(0, 1000))
def test_features_can_be_taken_back(seed):
    values = table(50, seed)
    fitted = Preprocessing.fit(COLUMNS, values)
    sds = np.array(fitted.sds)
    own = fitted.transform(values) * np.where(np.isinf(sds), 0, sds) + fitted.means
    np.testing.assert_array_equal(own[:, 1:4].argmax(axis=1), values[:, 1])
    np.testing.assert_allclose(own[:, [0, 4]], values[:, [0, 2]], rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_blocks_do_not_matter(rows, monkeypatch):
    values = with_holes(table())
    whole = Preprocessing.fit(COLUMNS, values, missing="median")
    monkeypatch.setattr(Preprocessing, "block_rows", rows)
    parts = Preprocessing.fit(COLUMNS, values, missing="median")
    np.testing.assert_allclose(parts.means, whole.means, rtol=1e-12)
    np.testing.assert_allclose(parts.sds, whole.sds, rtol=1e-9)
    np.testing.assert_allclose(parts.transform(values), whole.transform(values), atol=1e-6)
