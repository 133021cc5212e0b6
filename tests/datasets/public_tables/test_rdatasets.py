"""Tables of Rdatasets: found as in a clone, or fetched and kept; csv as columns."""

import numpy as np
import pytest

from datasets import sources
from datasets.public_tables import rdatasets
from datasets.public_tables.csv_format import read_csv
from datasets.public_tables.rdatasets import COMMIT, read_rdatasets
from new_algorithm.cli.errors import UserError

CSV = b"rownames,size,kind,sold,on\n1,1.5,a,TRUE,2012-01-01T06:16:41Z\n2,,,FALSE,\n"


def put(folder, content=CSV):
    (folder / "Rdatasets" / "csv" / "AER").mkdir(parents=True)
    (folder / "Rdatasets" / "csv" / "AER" / "Houses.csv").write_bytes(content)


def test_columns_of_a_csv():
    frame = read_csv(CSV)
    np.testing.assert_array_equal(frame["size"], [1.5, np.nan])
    assert frame["kind"].tolist() == ["a", None]
    assert frame["sold"].tolist() == [1.0, 0.0]
    assert frame["on"].dtype == object  # a time is a text
    assert frame["on"][1] is None


def test_a_table_in_a_clone_and_without_the_names_of_its_rows(tmp_path):
    put(tmp_path)
    assert [*read_rdatasets("AER/Houses", tmp_path)] == ["size", "kind", "sold", "on"]


def test_what_is_no_csv_is_told_by_its_name(tmp_path):
    put(tmp_path, b"a,b\n1\n")
    with pytest.raises(UserError, match=r"Houses\.csv: no sound table in it"):
        read_rdatasets("AER/Houses", tmp_path)


def test_what_is_fetched_is_kept_and_found_again(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "OWN_FOLDER", tmp_path)
    monkeypatch.delenv(sources.FOLDER_VARIABLE, raising=False)
    asked = []

    def fetch(url, folder):
        asked.append(url)
        (folder / "fetched").write_bytes(CSV)
        return folder / "fetched"

    monkeypatch.setattr(rdatasets, "fetch_file", fetch)
    frame = read_rdatasets("AER/Houses")
    assert read_rdatasets("AER/Houses").keys() == frame.keys()
    assert len(asked) == 1
    assert asked[0].endswith(f"/Rdatasets/{COMMIT}/csv/AER/Houses.csv")
    assert (tmp_path / "Rdatasets" / "csv" / "AER" / "Houses.csv").read_bytes() == CSV


def test_a_failed_download_says_what_to_do_by_hand(tmp_path, monkeypatch):
    def refuse(url, folder):
        raise UserError("the server answered 404")

    monkeypatch.setattr(sources, "OWN_FOLDER", tmp_path)
    monkeypatch.delenv(sources.FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(rdatasets, "fetch_file", refuse)
    with pytest.raises(UserError, match=r"answered 404.*By hand: put https://raw"):
        read_rdatasets("AER/Houses")
