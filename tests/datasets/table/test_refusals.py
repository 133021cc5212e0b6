"""Files that cannot be used, each refused in one line that names the thing and the remedy."""

import gzip

import pytest

from datasets import check_name
from datasets.table import files
from new_algorithm.cli.errors import UserError

HEADER = "length,width,colour,species\n"


def text(path, content, name="mine.csv"):
    path = path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(load, path, match, **options):
    with pytest.raises(UserError, match=match) as refusal:
        load(path, **options)
    message = str(refusal.value)
    assert "\n" not in message
    assert message.startswith(str(path))


@pytest.fixture
def spoilt(rows, write, load):
    """spoilt(row, column, value, match): a file with that field is refused."""

    def spoil(row, column, value, match, name="mine.csv", **options):
        columns = rows()
        columns[column][row] = value
        refused(load, write(columns, name), match, **options)

    return spoil


@pytest.mark.parametrize("name", ["mine.csv", "mine.csv.gz", "mine.parquet"])
@pytest.mark.parametrize(
    ("value", "options", "match"),
    [
        (None, {}, "the value is missing; fill it in, or add --missing median, or --drop width"),
        (float("nan"), {}, "the value is missing.* --missing median"),
        (float("inf"), {}, "'inf' is infinite or too large for float32; repair it, or --drop"),
        (float("-inf"), {"missing": "median"}, "'-inf' is infinite"),
    ],
)
def test_a_field_is_named_by_row_and_column(spoilt, name, value, options, match):
    below = "" if name.endswith("parquet") else " below the header"
    spoilt(4, "width", value, f"row 5{below}, column 'width': {match}", name, **options)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ("oops", "'oops' is not a number as others are; repair it, or --drop width"),
        ("1.2.3", "'1.2.3' is not a number"),
        ("1_000", "'1_000' is not a number"),
        ("1e999", "'1e999' is infinite or too large"),
        ("-1e39", "'-1e39' is infinite or too large"),
        ("NA", r"the value is missing \('NA'\)"),
        ("?", r"the value is missing \('\?'\)"),
    ],
)
def test_texts_among_numbers_are_named(spoilt, value, match):
    spoilt(59, "width", value, f"row 60 below the header, column 'width': {match}")


def test_the_first_of_several_is_named(rows, write, load):
    columns = rows()
    columns["length"][9] = columns["width"][7] = columns["colour"][7] = None
    refused(load, write(columns), "row 8 below the header, column 'width'")


def test_rows_are_counted_over_blocks(rows, write, load, monkeypatch):
    monkeypatch.setattr(files, "BLOCK_BYTES", 200)
    columns = rows()
    columns["width"][50] = None
    refused(load, write(columns), "row 51 below the header, column 'width'")
    path = write(rows())
    lines = path.read_text().splitlines()
    lines[50] = "1,2"
    path.write_text("\n".join(lines))
    refused(load, path, "row 50 below the header, column 'colour': missing, the row has 2 fields")


@pytest.mark.parametrize("missing", ["refuse", "median"])
@pytest.mark.parametrize("name", ["mine.csv", "mine.parquet"])
def test_a_missing_target_is_refused_whatever_is_filled(spoilt, missing, name):
    match = "row 3.*, column 'species': the value is missing, and it is the target; remove the row"
    spoilt(2, "species", None, match, name, missing=missing)


def test_rows_without_a_header_are_counted_from_the_first(rows, write, load):
    columns = rows()
    columns["width"][4] = None
    path = write(columns, header=False)
    refused(load, path, "mine.csv: row 5, column 'column_2'", target=["column_4"])


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("1,2,red", "column 'species': missing, the row has 3 fields in place of 4"),
        ("1,2,red,setosa,5", "one too many, the row has 5 fields in place of 4"),
    ],
)
def test_a_wrong_number_of_fields_is_named(rows, write, load, line, match):
    path = write(rows())
    lines = path.read_text().splitlines()
    lines.insert(3, line)
    path.write_text("\n".join(lines))
    refused(load, path, f"row 3 below the header, {match}")


def test_an_unknown_target_is_named_with_what_is_near(rows, write, load):
    path = write(rows())
    refused(load, path, "--target 'specis' is no column; did you mean 'species'", target=["specis"])
    refused(load, path, "did you mean 'species'", target=["SPECIES"])
    refused(load, path, "no column; there are length, width, colour, species", target=["zzz"])
    refused(load, path, "--drop 'colours' is no column; did you mean 'colour'", drop=["colours"])
    refused(load, path, "both target and dropped", drop=["species"])
    refused(load, path, "no column is left", drop=["length", "width", "colour"])


def test_without_a_target_the_columns_are_listed(rows, write, load):
    path = write(rows())
    listed = "say with --target which column is to be learned; there are length, width, colour"
    refused(load, path, listed, target=[])
    with pytest.raises(UserError, match=listed):
        check_name(str(path))


@pytest.mark.parametrize("count", [30, 3])
def test_a_column_of_names_is_refused(rows, write, load, count):
    columns = {"id": [f"no {i}" for i in range(count)]} | rows(count)
    match = f"column 'id' has {count} different texts in {count} rows, .*--drop id"
    refused(load, write(columns), match)


def test_a_column_that_counts_the_rows_is_refused(rows, write, load):
    for start in (0, 1):
        columns = {"": range(start, start + 60)} | rows()
        refused(load, write(columns), "column 'column_1' only counts the rows; .*--drop column_1")


def test_a_column_without_values_is_refused(rows, write, load):
    columns = {"notes": [None] * 60} | rows()
    for name in ("mine.csv", "mine.parquet"):
        match = "column 'notes' has no value in any row; leave it out with --drop notes"
        refused(load, write(columns, name), match)


def test_more_texts_than_categories_can_be_are_refused(rows, write, load):
    columns = {"town": [f"town {i % 1001}" for i in range(3000)]} | rows(3000)
    refused(load, write(columns), "column 'town' has more than 1,000 different texts")
    refused(load, write(columns), "more than 1,000 different labels", target=["town"])


def test_one_class_is_refused(rows, write, load):
    refused(load, write(rows() | {"species": ["a"] * 60}), "'species' has one class only, 'a'")


def test_text_is_no_quantity(rows, write, load):
    refused(load, write(rows()), "holds texts; a regression needs numbers", task="regression")


FILES = {
    "empty": (b"", "the file is empty"),
    "blank": (b"\n\n", "the file is empty"),
    "header alone": (HEADER.encode(), "there is a header and no row below it"),
    "two columns of a name": (b"a,b,a\n1,2,3\n", "two columns are named 'a'"),
    "UTF-16": (HEADER.encode("utf-16"), "not a text file in UTF-8"),
    "Latin-1": (HEADER.encode() + "1,2,grün,setosa\n".encode("latin-1"), "not UTF-8"),
    "a web page": (b"<!DOCTYPE html><html>404</html>", "this is a web page"),
    "binary": (b"\0\1\2\3" * 100, "not a text file"),
    "Parquet": (b"PAR1" + bytes(100), "not a text file"),
    "an open quotation mark": (HEADER.encode() + b'1,2,"red,setosa\n1,2,red,setosa\n', "row 1"),
    "few rows": (HEADER.encode() + b"1,2,red,a\n2,1,red,b\n3,2,red,a\n", "3 rows are too few"),
}


@pytest.mark.parametrize(("content", "match"), FILES.values(), ids=FILES)
def test_files_that_are_no_tables(tmp_path, load, content, match):
    refused(load, text(tmp_path, content), match)


@pytest.mark.parametrize("kept", [0, 4, 30, -30])
@pytest.mark.parametrize("name", ["mine.parquet", "mine.csv.gz"])
def test_a_damaged_file_is_refused(rows, write, load, name, kept):
    path = write(rows(), name)
    path.write_bytes(path.read_bytes()[:kept])
    refused(load, path, "damaged|the file is empty")


def test_a_flipped_byte_in_parquet_or_gzip_is_refused_or_harmless(rows, write, load):
    for name in ("mine.parquet", "mine.csv.gz"):
        content = write(rows(), name).read_bytes()
        for place in range(0, len(content), 37):
            spoilt = bytearray(content)
            spoilt[place] ^= 0x55
            (path := write(rows(), name)).write_bytes(spoilt)
            try:
                load(path)
            except UserError as error:
                assert str(error).startswith(str(path))  # noqa: PT017


def test_parquet_columns_of_other_types_are_refused(rows, write, load):
    columns = {"lists": [[1, 2]] * 60} | rows()
    refused(load, write(columns, "mine.parquet"), "column 'lists' holds list.*--drop lists")


def test_a_name_that_is_no_file_is_refused(tmp_path, load):
    with pytest.raises(UserError, match=r"absent\.csv: no such file"):
        load(tmp_path / "absent.csv")


def test_gzip_that_is_none_is_refused(tmp_path, load):
    refused(load, text(tmp_path, HEADER, "mine.csv.gz"), "damaged or not gzip")
    path = text(tmp_path, gzip.compress(HEADER.encode()), "mine.csv.gz")
    refused(load, path, "there is a header and no row below it")


def test_an_unclosed_row_longer_than_a_block_is_refused(rows, write, load, monkeypatch):
    monkeypatch.setattr(files, "BLOCK_BYTES", 300)
    path = write(rows())
    path.write_text(path.read_text() + '1,2,"' + "x\n" * 400)
    refused(load, path, "row 61|a row is longer than")
