"""Tables are made once, and verified at every use. Those of scikit-learn need no network."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes

from datasets import pinned_file, sources
from datasets.public_tables import load
from datasets.public_tables.catalogue import TABLES
from datasets.public_tables.load import digest, load_table, make_tables, rows_of
from new_algorithm.cli.errors import UserError


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "OWN_FOLDER", tmp_path)
    return tmp_path


def test_features_and_targets_are_the_sources(own_folder):
    rows, bunch = load_table("diabetes"), load_diabetes()
    np.testing.assert_array_equal(rows.x, bunch.data.astype(np.float32))
    np.testing.assert_array_equal(rows.y, bunch.target)
    assert (own_folder / "cache" / "tables" / "diabetes.npz").is_file()
    labels, bunch = load_table("breast_cancer").y, load_breast_cancer()
    np.testing.assert_array_equal(labels, bunch.target)
    assert labels.dtype == np.int64


def test_an_altered_table_is_refused(own_folder):
    rows = load_table("diabetes")
    kept = own_folder / "cache" / "tables" / "diabetes.npz"
    np.savez(kept, x=rows.x, y=rows.y + 1)
    with pytest.raises(UserError, match="its table diabetes is not the one known here"):
        load_table("diabetes")


def test_an_unknown_name_is_refused():
    with pytest.raises(UserError, match="unknown table 'absent': choose ad_data,"):
        load_table("absent")


def test_the_logarithm_is_taken_of_the_target_where_the_catalogue_says_so(monkeypatch):
    frame = {"a": np.array([1.0, 2.0]), "target": np.array([1.0, np.e])}
    table = replace(TABLES["diabetes"], log=True)
    table = replace(table, sha256=digest(rows_of(table, frame)))
    monkeypatch.setitem(load.TABLES, "diabetes", table)
    monkeypatch.setattr(load, "_frame", lambda *_: ("here", frame))
    np.testing.assert_allclose(load_table("diabetes").y, [0.0, 1.0], atol=1e-6)


def test_rows_without_a_target_are_left_out():
    frame = {
        "a": np.array([1.0, np.nan, 3.0, 4.0]),
        "vote": np.array(["yes", None, "no", "yes"], object),
    }
    table = replace(TABLES["breast_cancer"], target="vote")
    rows = rows_of(table, frame)
    assert rows.x.ravel().tolist() == [1.0, 3.0, 4.0]  # nothing is missing in those that stay
    assert rows.y.tolist() == [1, 0, 1]
    values = frame | {"vote": np.array([np.nan, 2.0, 5.0, np.nan])}
    rows = rows_of(replace(TABLES["diabetes"], target="vote"), values)
    assert rows.x.tolist() == [[3.0, 1.0], [3.0, 0.0]]
    assert rows.y.tolist() == [2.0, 5.0]


def test_one_table_that_cannot_be_made_does_not_keep_the_others_from_it(own_folder, monkeypatch):
    def no_network(url, *arguments):
        raise UserError("no network")

    monkeypatch.setattr(pinned_file, "fetch_file", no_network)
    chosen = {name: TABLES[name] for name in ("mnist1d", "diabetes")}
    monkeypatch.setattr(load, "TABLES", chosen)
    with pytest.raises(UserError, match=r"^1 of 2 tables are made; .*mnist1d: .*no network"):
        make_tables()
    assert (own_folder / "cache" / "tables" / "diabetes.npz").is_file()
    monkeypatch.setattr(load, "TABLES", {"diabetes": TABLES["diabetes"]})
    assert make_tables()[1] == 1
