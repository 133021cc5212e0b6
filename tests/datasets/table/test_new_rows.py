"""Rows that a network has not seen: prepared as those of its training were, by the record alone."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.mnist import pixel_preprocessing, scale
from datasets.new_rows import open_new_rows, recorded_preprocessing
from datasets.preprocessing import UNKNOWN, Column
from datasets.table import files
from new_algorithm.cli.errors import UserError

SPECIES = Column("species", ("Versicolor", "setosa", "virginica"))


def recorded(dataset):
    return recorded_preprocessing(json.loads(json.dumps(dataset.provenance())))


def features(new, preprocessing):
    return np.concatenate([preprocessing.transform(table) for table, _ in new.blocks])


def targets_of(new):
    return np.concatenate([targets for _, targets in new.blocks])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(st.permutations(["length", "width", "colour", "species"]), st.integers(0, 3))
def test_a_record_prepares_new_rows_in_whatever_order_of_columns(rows, write, load, order, seed):
    columns = rows(seed=seed)
    dataset = load(write(columns))
    preprocessing = recorded(dataset)
    path = write({name: columns[name] for name in order}, "new.csv")
    again = features(open_new_rows(path, preprocessing, [SPECIES]), preprocessing)
    x = {tuple(row) for row in again.tolist()}
    assert x == {tuple(row) for row in np.r_[dataset.x_train, dataset.x_test].tolist()}


@pytest.mark.parametrize("name", ["new.csv", "new.tsv", "new.csv.gz", "new.parquet"])
def test_targets_are_the_places_of_their_labels(rows, write, load, name):
    preprocessing = load(write(rows())).preprocessing
    columns = rows(9)
    columns["species"] = ["setosa", "rose", "", *columns["species"][3:]]
    delimiter = "\t" if name.endswith(".tsv") else ","
    new = open_new_rows(write(columns, name, delimiter=delimiter), preprocessing, [SPECIES])
    assert new.has_targets
    expected = [1, UNKNOWN, np.nan, *(SPECIES.categories.index(n) for n in columns["species"][3:])]
    np.testing.assert_array_equal(targets_of(new)[:, 0], expected)


def test_new_rows_may_lack_the_target_and_have_texts_unheard_of(rows, write, load):
    preprocessing = load(write(rows())).preprocessing
    columns = rows(10)
    del columns["species"]
    columns["colour"][0] = "unheard of"
    new = open_new_rows(write(columns | {"id": range(10)}, "new.csv"), preprocessing, [SPECIES])
    assert new.ignored == ("id",)
    assert not new.has_targets
    (table, targets), *_ = new.blocks
    assert targets is None
    assert table[0, 2] == UNKNOWN
    assert features(open_new_rows(write(columns), preprocessing, []), preprocessing).shape == (
        10,
        6,
    )


def test_columns_that_are_renamed_are_told_by_both_names(rows, write, load):
    preprocessing = load(write(rows())).preprocessing
    columns = rows(10)
    columns["breadth"] = columns.pop("width")
    with pytest.raises(UserError, match=r"missing: width; unknown to it: breadth;"):
        open_new_rows(write(columns, "new.csv"), preprocessing, [SPECIES])
    dropped = open_new_rows(
        write(rows(10) | columns, "new.csv"), preprocessing, [SPECIES], dropped=["breadth"]
    )
    assert dropped.ignored == ()


def test_missing_values_are_filled_as_in_training_or_refused_by_row_and_column(rows, write, load):
    columns = rows()
    columns["length"][7] = None
    filled = load(write(columns), missing="median").preprocessing
    new = open_new_rows(write(columns, "new.csv"), filled, [SPECIES])
    assert np.isnan(next(new.blocks)[0][7, 0])
    x = features(open_new_rows(write(columns, "new.csv"), filled, []), filled)
    length, indicator = filled.columns[0], filled.features.index("length is missing")
    place = filled.features.index("length")
    assert x[7, place] == np.float32((length.median - filled.means[place]) / filled.sds[place])
    assert x[7, indicator] > 0 > x[8, indicator]
    refused = load(write(rows())).preprocessing
    with pytest.raises(UserError, match=r"row 8 below the header, column 'length'.*fill it in: "):
        list(open_new_rows(write(columns, "new.csv"), refused, [SPECIES]).blocks)
    columns["length"][7] = "wide"
    with pytest.raises(UserError, match=r"'wide' is not a number as others are; repair it$"):
        list(open_new_rows(write(columns, "new.csv"), filled, [SPECIES]).blocks)


def test_arrays_have_no_names_and_tables_give_theirs_in_order(write, tmp_path, load):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 3)), rng.integers(0, 2, 50)
    np.savez(tmp_path / "mine.npz", x=x, y=y)
    preprocessing = recorded(load(tmp_path / "mine.npz", target=[]))
    expected = preprocessing.transform(x)
    of_arrays = open_new_rows(tmp_path / "mine.npz", preprocessing, [Column("")])
    np.testing.assert_array_equal(targets_of(of_arrays)[:, 0], y)
    np.savez(tmp_path / "alone.npz", x_test=x.reshape(50, 3, 1))
    alone = open_new_rows(tmp_path / "alone.npz", preprocessing, [Column("")])
    np.testing.assert_array_equal(features(alone, preprocessing), expected)
    assert not alone.has_targets
    table = dict(zip("abc", x.T.tolist(), strict=True))
    by_place = open_new_rows(write(table), preprocessing, [])
    np.testing.assert_array_equal(features(by_place, preprocessing), expected)
    with pytest.raises(UserError, match="arrays of 3 columns, the table has 4: a, b, c, d;"):
        open_new_rows(write(table | {"d": y.tolist()}), preprocessing, [])
    np.savez(tmp_path / "wide.npz", x=np.zeros((2, 4)))
    with pytest.raises(UserError, match="x have 4 numbers, the network was trained on 3"):
        open_new_rows(tmp_path / "wide.npz", preprocessing, [])
    np.savez(tmp_path / "nan.npz", x=np.array([[0, 1, 2], [0, np.nan, 2]]))
    with pytest.raises(UserError, match="x holds nan in row 1, column 1"):
        open_new_rows(tmp_path / "nan.npz", preprocessing, [])


def test_texts_as_labels_of_arrays(tmp_path, load):
    np.savez(tmp_path / "mine.npz", x=np.eye(20), y=np.array(["no", "yes"] * 10))
    dataset = load(tmp_path / "mine.npz", target=[])
    np.savez(tmp_path / "new.npz", x=np.eye(20)[:3], y=np.array(["yes", "no", "perhaps"]))
    column = Column("", ("no", "yes"))
    new = open_new_rows(tmp_path / "new.npz", dataset.preprocessing, [column])
    assert targets_of(new)[:, 0].tolist() == [1, 0, UNKNOWN]


def test_pixels_are_prepared_as_mnist_is():
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    by_record = recorded_preprocessing({"name": "mnist"})
    assert by_record == pixel_preprocessing()
    prepared = by_record.transform(images.reshape(3, -1).astype(float))
    np.testing.assert_allclose(prepared, scale(images), atol=1e-6)
    assert recorded_preprocessing({"name": "mine.npz"}) is None


def test_rows_come_in_blocks_with_their_targets(rows, write, load, monkeypatch):
    columns = rows(300)
    preprocessing = load(write(columns)).preprocessing
    path = write(columns, "new.csv")
    ((table, targets),) = open_new_rows(path, preprocessing, [SPECIES]).blocks
    monkeypatch.setattr(files, "BLOCK_BYTES", 1 << 10)
    blocks = list(open_new_rows(path, preprocessing, [SPECIES]).blocks)
    assert len(blocks) > 5
    np.testing.assert_array_equal(np.concatenate([block for block, _ in blocks]), table)
    np.testing.assert_array_equal(np.concatenate([own for _, own in blocks]), targets)
