import gzip
import sys
import warnings
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import sources
from datasets.higgs import csv_rows as reading
from datasets.higgs.csv_rows import read_blocks
from new_algorithm.cli.errors import UserError


@pytest.fixture
def small_blocks(monkeypatch):
    """Two rows and a bit are read at a time."""
    monkeypatch.setattr(reading, "BLOCK_BYTES", 1500)


@pytest.fixture
def good(higgs_rows, higgs_csv):
    return higgs_csv(higgs_rows(9))


def read(*parts):
    features, labels = zip(*read_blocks(parts), strict=True)
    return np.concatenate(features), np.concatenate(labels)


def fields_of(content):
    return [line.split(b",") for line in content.splitlines()]


def joined(rows, ending=b"\n"):
    return b"".join(b",".join(row) + ending for row in rows)


ENCODED = {
    "HIGGS.csv": lambda content: content,
    "crlf.csv": lambda content: content.replace(b"\n", b"\r\n"),
    "no_final_newline.csv": lambda content: content[:-1],
    "no_final_newline_crlf.csv": lambda content: content[:-1].replace(b"\n", b"\r\n"),
    "padded.csv": lambda content: content.replace(b",", b" , "),
    "HIGGS.csv.gz": gzip.compress,
    "members.csv.gz": lambda c: gzip.compress(c[:1000]) + gzip.compress(c[1000:]),
    "empty_member.csv.gz": lambda c: gzip.compress(c[:-1]) + gzip.compress(b""),
}


@pytest.mark.parametrize("name", ENCODED)
@pytest.mark.parametrize("blocks", ["one block", "small_blocks"])
def test_every_encoding_gives_the_same_arrays(name, blocks, tmp_path, good, higgs_rows, request):
    if blocks == "small_blocks":
        request.getfixturevalue(blocks)
    (tmp_path / name).write_bytes(ENCODED[name](good))
    features, labels = read(tmp_path / name)
    np.testing.assert_array_equal(features, higgs_rows(9)[:, 1:].astype(np.float32))
    np.testing.assert_array_equal(labels, np.arange(9) % 2)
    assert features.dtype == np.float32
    assert labels.dtype == np.int64


@pytest.mark.usefixtures("small_blocks")
def test_a_file_is_read_in_blocks_of_whole_rows(tmp_path, good):
    (tmp_path / "HIGGS.csv").write_bytes(good)
    assert [len(labels) for _, labels in read_blocks([tmp_path / "HIGGS.csv"])] == [3, 3, 3]


@pytest.fixture
def read_bytes(monkeypatch):
    """A list of the numbers of bytes that the bar is told of."""
    counts = []
    bar = SimpleNamespace(update=counts.append)
    monkeypatch.setattr(sources, "byte_progress", lambda name, total: nullcontext(bar))
    return counts


@pytest.mark.parametrize("name", ["HIGGS.csv", "HIGGS.csv.gz"])
def test_progress_is_told_of_every_byte_on_the_disk(tmp_path, good, name, read_bytes):
    content = ENCODED[name](good)
    for number, half in enumerate((content[:700], content[700:])):
        (tmp_path / f"{name}.{number}").write_bytes(half)
    for _ in read_blocks([tmp_path / f"{name}.{n}" for n in (0, 1)]):
        pass
    assert sum(read_bytes) == len(content)


@pytest.mark.usefixtures("small_blocks")
def test_a_file_without_line_ends_is_never_read_whole(tmp_path, monkeypatch, read_bytes):
    monkeypatch.setattr(reading, "LONGEST_LINE", 500)
    monkeypatch.setattr("datasets.sources.READ_BYTES", 100)
    (tmp_path / "HIGGS.csv").write_bytes(b"7" * 100_000)
    with pytest.raises(UserError, match="row 1, column 2: missing"):
        list(read_blocks([tmp_path / "HIGGS.csv"]))
    assert sum(read_bytes) < 3000


def replaced(row, column, text):
    def spoil(rows):
        rows[row - 1][column - 1] = text
        return rows

    return spoil


def with_row(row, change):
    def spoil(rows):
        rows[row - 1 : row] = change(rows[row - 1])
        return rows

    return spoil


FAULTS = {
    "short": (with_row(8, lambda row: [row[:20]]), "row 8, column 21: missing.* has 20 columns"),
    "long": (with_row(8, lambda row: [[*row, b"1"]]), "row 8, column 30: one too many"),
    "much too long": (with_row(2, lambda row: [row + row]), "row 2, column 30: .* has 58 columns"),
    "28 columns": (lambda rows: [row[1:] for row in rows], "row 1, column 29: .* has 28 columns"),
    "blank": (with_row(5, lambda row: [[b""], row]), "row 5, column 1: .* has 0 columns"),
    "blank at the end": (lambda rows: [*rows, [b""]], "row 10, column 1: .* has 0 columns"),
    "empty": (replaced(7, 3, b""), "row 7, column 3: empty"),
    "empty, first": (replaced(1, 1, b""), "row 1, column 1: empty"),
    "empty, last": (replaced(9, 29, b""), "row 9, column 29: empty"),
    "spaces": (replaced(4, 5, b"  "), "row 4, column 5: empty"),
    "nan": (replaced(3, 29, b"nan"), "row 3, column 29: 'nan' is NaN"),
    "inf": (replaced(8, 2, b"-inf"), "row 8, column 2: '-inf' is NaN, infinite"),
    "beyond float32": (replaced(8, 2, b"4e38"), "row 8, column 2: '4e38' .*beyond float32"),
    "beyond float64": (replaced(8, 2, b"1e999"), "row 8, column 2: '1e999' .*beyond float32"),
    "text": (replaced(6, 11, b"1.0x"), "row 6, column 11: '1.0x' is not a number"),
    "two in one": (replaced(6, 11, b"1 2"), "row 6, column 11: '1 2' is not a number"),
    "quoted": (replaced(6, 11, b'"1"'), "row 6, column 11: '\"1\"' is not a number"),
    "underscore": (replaced(6, 11, b"1_0"), "row 6, column 11: '1_0' is not a number"),
    "carriage return": (replaced(6, 11, b"1\r"), r"row 6, column 11: '1\\r' is not a number"),
    "NUL": (replaced(6, 11, b"1\0"), r"row 6, column 11: '1\\x00' is not a number"),
    "label 2": (replaced(5, 1, b"2"), "row 5, column 1: the label is '2', neither 0 nor 1"),
    "label -1": (replaced(5, 1, b"-1"), "row 5, column 1: the label is '-1'"),
    "label nearly 1": (
        replaced(5, 1, b"0.9999999999"),
        "row 5, column 1: the label is '0.9999999999'",
    ),
    "label NaN": (replaced(5, 1, b"NaN"), "row 5, column 1: 'NaN' is NaN"),
    "header": (
        lambda rows: [[b"label", *[b"f%d" % i for i in range(28)]], *rows],
        "row 1, column 1: 'label' looks like a header; remove that row",
    ),
    "header of 28": (lambda rows: [[b"a"] * 28, *rows], "row 1, column 1: 'a' looks like a header"),
    "words later on": (lambda rows: [*rows, [b"a"] * 29], "row 10, column 1: 'a' is not a number"),
    "web page": (lambda rows: [[b"<html>404</html>"]], "row 1, column 2: missing"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.usefixtures("small_blocks")
def test_a_fault_is_one_line_that_names_file_row_column_and_remedy(fault, ending, tmp_path, good):
    spoil, message = FAULTS[fault]
    (tmp_path / "HIGGS.csv.gz").write_bytes(gzip.compress(joined(spoil(fields_of(good)), ending)))
    with pytest.raises(UserError, match=rf"HIGGS\.csv\.gz: {message}") as failure:
        read(tmp_path / "HIGGS.csv.gz")
    assert "\n" not in str(failure.value)
    assert str(failure.value).endswith(("remove that row", "replace the file by an original"))


def test_the_first_of_several_faults_is_named(tmp_path, good):
    rows = replaced(8, 2, b"nan")(replaced(3, 29, b"x")(replaced(3, 28, b"")(fields_of(good))))
    (tmp_path / "HIGGS.csv").write_bytes(joined(rows))
    with pytest.raises(UserError, match="row 3, column 28: empty"):
        read(tmp_path / "HIGGS.csv")


def test_a_long_field_is_not_shown_whole(tmp_path, good):
    (tmp_path / "HIGGS.csv").write_bytes(joined(replaced(2, 2, b"x" * 5000)(fields_of(good))))
    with pytest.raises(UserError) as failure:
        read(tmp_path / "HIGGS.csv")
    assert len(str(failure.value)) < 300 + len(str(tmp_path))


@settings(max_examples=60)
@given(
    position=st.integers(0, 58),
    put=st.binary(max_size=3) | st.sampled_from([b",", b"\r", b"\n", b"\r\n", b" ", b"\xa0", b"-"]),
    ending=st.sampled_from([b"", b"\n", b"\r\n", b"\r", b"\r\r\n"]),
)
def test_whatever_is_put_into_a_row_is_read_or_refused_in_one_line(
    tmp_path_factory, position, put, ending
):
    row = b"1," + b",".join([b"0"] * 28)
    spoilt = row[:position] + put + row[position:] + ending
    path = tmp_path_factory.getbasetemp() / "spoilt.csv"
    path.write_bytes(row + b"\n" + spoilt)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            features, labels = read(path)
        except UserError as error:
            refusal = str(error)
        else:
            assert np.isfinite(features).all()
            assert set(labels) <= {0, 1}
            assert len(labels) == 1 + spoilt.removesuffix(b"\n").count(b"\n") + 1
            return
    assert "spoilt.csv: row " in refusal
    assert "\n" not in refusal


DAMAGED = {
    "truncated": lambda content: gzip.compress(content)[:-400],
    "without its CRC": lambda content: gzip.compress(content)[:-8],
    "wrong CRC": lambda content: gzip.compress(content)[:-8] + bytes(8),
    "not deflate": lambda content: gzip.compress(content)[:10] + b"\xff" * 500,
    "second member truncated": lambda c: gzip.compress(c) + gzip.compress(c)[:-400],
    "rubbish after it": lambda content: gzip.compress(content) + b"rubbish",
    "error page": lambda content: b"<!DOCTYPE html><html>404</html>",
    "not compressed": lambda content: content,
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_gzip_file_is_refused(damage, tmp_path, good):
    (tmp_path / "HIGGS.csv.gz").write_bytes(damage(good))
    with pytest.raises(UserError, match=r"HIGGS\.csv\.gz: damaged or not gzip .*replace it"):
        read(tmp_path / "HIGGS.csv.gz")


@pytest.mark.parametrize(
    ("name", "content"),
    [("HIGGS.csv", b""), ("HIGGS.csv.gz", b""), ("HIGGS.csv.gz", gzip.compress(b"", mtime=0))],
)
def test_an_empty_file_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: the file is empty; replace it"):
        read(tmp_path / name)


def test_a_file_that_cannot_be_opened_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"HIGGS\.csv: cannot be read"):
        read(tmp_path / "HIGGS.csv")


def test_a_missing_pyarrow_is_one_line(tmp_path, good, monkeypatch):
    (tmp_path / "HIGGS.csv").write_bytes(good)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pyarrow cannot be imported .*: \./starter installs it"):
        read(tmp_path / "HIGGS.csv")


# Numbers.


def row_of(*fields):
    """A row that begins with these fields; zeros follow."""
    return b",".join([*fields, *[b"0"] * (29 - len(fields))]) + b"\n"


FORMATS = {
    "as UCI writes them": "%.18e",
    "shortest": "%r",
    "long decimals": "%.60f",
    "many digits": "%.40e",
    "few digits": "%.3g",
    "capital": "%.9E",
}


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("exponent", [0, -38, -44, -60, 37])
def test_numbers_are_rounded_to_float64_and_then_to_float32(tmp_path, form, exponent):
    values = np.random.default_rng(0).uniform(-10, 10, (50, 28)) * 10.0**exponent
    texts = [[form % value for value in row] for row in values.tolist()]
    lines = "".join("1," + ",".join(row) + "\n" for row in texts)
    (tmp_path / "HIGGS.csv").write_text(lines)
    expected = np.array([[float(text) for text in row] for row in texts]).astype(np.float32)
    assert read(tmp_path / "HIGGS.csv")[0].tobytes() == expected.tobytes()


def test_every_float32_is_read_to_the_bit(tmp_path):
    """Subnormal ones, zeros of both signs and the largest included."""
    bits = np.random.default_rng(1).integers(0, 1 << 32, (200, 28), dtype=np.uint32)
    bits[0, :6] = [0, 1 << 31, 1, 0x007FFFFF, 0x7F7FFFFF, 0xFF7FFFFF]
    values = bits.view(np.float32)
    values[~np.isfinite(values)] = 1
    rows = ("0," + ",".join(map(repr, row)) + "\n" for row in values.astype(float).tolist())
    (tmp_path / "HIGGS.csv").write_text("".join(rows))
    assert read(tmp_path / "HIGGS.csv")[0].tobytes() == values.tobytes()


GOOD_FIELDS = [b"1.", b".5", b" 1", b"1 ", b"\t1", b"1e5", b"1E-5", b"-0", b"1e-400", b"1e+05"]
GOOD_FIELDS += [b"0" * 400 + b"1", b"0." + b"3" * 800]
BAD_FIELDS = [b"nan", b"NaN", b"inf", b"-Infinity", b"1e39", b"1e400", b"3.5e38", b"", b" "]
BAD_FIELDS += [b"0x10", b"1_0", b"1d3", b'"1"', b"'1'", b"1e", b".", b"null", b"NULL", b"NA"]
BAD_FIELDS += [b"N/A", b"#N/A", b"true", b"1 2", b"1;2", b"1\r1", b"\xef\xbb\xbf1", b"1\0"]
BAD_FIELDS += [b"\\1", b"1f", b"1L", b"--1", b"#1", b"\xa01"]


@pytest.mark.parametrize("place", [1, 2, 28])
def test_fields_that_are_numbers_are_read_and_others_are_named(tmp_path, place):
    for field in GOOD_FIELDS + BAD_FIELDS:
        row = row_of()[:-1].split(b",")
        row[place] = field
        (tmp_path / "HIGGS.csv").write_bytes(row_of() + b",".join(row) + b"\n" + row_of())
        if field in GOOD_FIELDS:
            assert read(tmp_path / "HIGGS.csv")[0][1, place - 1] == np.float32(float(field))
        else:
            with pytest.raises(UserError, match=f"row 2, column {place + 1}: "):
                read(tmp_path / "HIGGS.csv")


@pytest.mark.parametrize("label", [b"\xef\xbb\xbf1", b"2", b"0.5", b"-1", b"nan", b"", b'"1"'])
def test_other_labels_are_refused(tmp_path, label):
    (tmp_path / "HIGGS.csv").write_bytes(row_of(label) + row_of())
    with pytest.raises(UserError, match="row 1, column 1: "):
        read(tmp_path / "HIGGS.csv")
