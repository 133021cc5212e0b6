"""Tables of Rdatasets: found as in a clone, or fetched and kept; csv as columns."""

from dataclasses import replace

import numpy as np
import pytest

from datasets.public_tables import rdatasets
from datasets.public_tables.catalogue import TABLES
from datasets.public_tables.csv_format import read_csv
from datasets.public_tables.load import digest, load_table, rows_of
from datasets.public_tables.rdatasets import COMMIT, HOST, read_rdatasets
from new_algorithm.cli.errors import UserError
from tests.datasets.misbehaving_server import Answer

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
    assert [*read_rdatasets("AER/Houses", tmp_path)[1]] == ["size", "kind", "sold", "on"]


def test_what_is_no_csv_is_told_by_its_name(tmp_path):
    put(tmp_path, b"a,b\n1\n")
    with pytest.raises(UserError, match=r"Houses\.csv: no sound table in it"):
        read_rdatasets("AER/Houses", tmp_path)


@pytest.fixture
def served(server, own, monkeypatch):
    """served(answer): what the host gives for the one table."""
    path = f"{HOST}/{COMMIT}/csv/AER/Houses.csv"
    monkeypatch.setattr(rdatasets, "SERVER", server.url)
    return lambda *answers: server.give(path, *answers)


def test_what_is_fetched_is_kept_and_found_again(own, server, served):
    served(Answer(503), Answer(body=CSV))
    file, frame = read_rdatasets("AER/Houses")
    assert file == own / "Rdatasets" / "csv" / "AER" / "Houses.csv"
    assert file.read_bytes() == CSV
    np.testing.assert_array_equal(frame["size"], [1.5, np.nan])
    assert read_rdatasets("AER/Houses")[1].keys() == frame.keys()
    assert len(server.asked) == 2  # the first was refused


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(404), "the server answered 404"),
        (Answer(body=CSV, length=len(CSV) + 9), "the download failed"),
        (Answer(body=b"<html>\nSign in, please\n"), "no sound table in it"),
        (Answer(body=b""), "no sound table in it"),
        (Answer(body=CSV[:30]), "no sound table in it"),
    ],
)
def test_what_cannot_be_used_is_not_kept_and_what_to_do_is_told(own, served, answer, why):
    served(answer)
    with pytest.raises(UserError, match=f"{why}.*By hand: put http") as refusal:
        read_rdatasets("AER/Houses")
    assert "\n" not in str(refusal.value)
    assert [path for path in own.rglob("*") if path.is_file()] == []


def test_a_table_with_other_numbers_is_refused_by_its_file(own, served, monkeypatch):
    content = b"rownames,size,price\n1,1.5,2.5\n2,2.5,3.5\n"
    table = replace(TABLES["diabetes"], package="Rdatasets", member="AER/Houses", target="price")
    made = rows_of(table, {"size": np.array([1.5, 2.5]), "price": np.array([2.5, 3.5])})
    monkeypatch.setitem(TABLES, "houses", replace(table, name="houses", sha256=digest(made)))
    served(Answer(body=content.replace(b"3.5", b"3.6")))
    with pytest.raises(UserError, match=r"Houses\.csv: its table houses is not the one .* delete"):
        load_table("houses")
    assert not (own / "cache").exists()
    (own / "Rdatasets" / "csv" / "AER" / "Houses.csv").unlink()
    served(Answer(body=content))
    np.testing.assert_array_equal(load_table("houses").y, [2.5, 3.5])
