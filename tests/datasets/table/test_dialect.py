import csv
import io
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from datasets.table.dialect import DELIMITERS, find_dialect


def dialect(text):
    return find_dialect(Path("mine.csv"), text.encode())


HEADERS = {
    "names above numbers": ("a,b\n1,2\n3,4\n", True),
    "numbers alone": ("1,2\n3,4\n", False),
    "a nameless first column": (",a,b\n0,1,x\n1,2,y\n", True),
    "texts that recur": ("p,x\ne,x\np,f\n", False),
    "texts above other texts": ("sex,town\nm,Bonn\nf,Ulm\n", True),
    "a text above missing numbers": ("a,b\n,NA\n1,\n", True),
    "a row of text and numbers": ("vhigh,2,small\nlow,3,big\n", False),
    "one row of numbers": ("1,2\n", False),
}


@pytest.mark.parametrize(("text", "expected"), HEADERS.values(), ids=HEADERS)
def test_a_header_is_told_from_a_row(text, expected):
    assert dialect(text).has_header is expected


def test_names_are_given_where_there_are_none():
    assert dialect(",a\n0,1\n").names == ("column_1", "a")
    assert dialect("1,2\n3,4\n").names == ("column_1", "column_2")


def test_spaces_delimit_where_nothing_else_does():
    assert dialect("a b\n1 2\n").delimiter == " "
    assert dialect("a , b\n1 , 2\n").delimiter == ","
    assert dialect("one column\n1\n").delimiter == ","


FIELDS = st.text("abcxyz ,;|.'\"\n", min_size=1, max_size=8)


@given(
    st.sampled_from(DELIMITERS),
    st.lists(st.tuples(FIELDS, st.floats(-9, 9), st.integers(0, 99)), min_size=3, max_size=9),
)
def test_what_the_csv_module_writes_is_understood(delimiter, rows):
    assume(all(row[0].strip() for row in rows))
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerows([("name", "size", "count"), *rows])
    found = dialect(text.getvalue())
    assert found[:3] == (delimiter, ("name", "size", "count"), True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a;b\n1,5;x\n2,25;y\n", True),
        ("1,5;2,3\n2,5;3,5\n", True),
        ("a;b\n1.5;x\n2.25;y\n", False),
        ("a,b\n1,5\n", False),
    ],
)
def test_a_decimal_comma_is_found(text, expected):
    assert dialect(text).has_decimal_comma is expected
