"""With pyarrow and without, the same rows are read, to the bit, and the same rows refused."""

import builtins
import gzip
import logging
import sys
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.higgs import arrow_csv
from datasets.higgs import csv_blocks as reading
from datasets.higgs.arrow_csv import arrow_reader
from datasets.higgs.csv_blocks import read_blocks
from new_algorithm.cli.errors import UserError

HAS_PYARROW = arrow_reader() is not None
needs_pyarrow = pytest.mark.skipif(not HAS_PYARROW, reason="pyarrow is not installed")


@pytest.fixture
def forgotten():
    """The import is tried again."""
    for function in (arrow_csv.arrow_reader, arrow_csv._import_pyarrow):
        function.cache_clear()
    yield
    for function in (arrow_csv.arrow_reader, arrow_csv._import_pyarrow):
        function.cache_clear()


def outcome(path, with_arrow):
    """The bytes of all arrays, or the refusal."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        if not with_arrow:
            monkeypatch.setattr(reading, "arrow_reader", lambda: None)
        try:
            return [(x.tobytes(), y.tobytes()) for x, y in read_blocks([path])]
        except UserError as error:
            return str(error)


def both(folder, content):
    path = folder / "HIGGS.csv"
    path.write_bytes(content)
    found = outcome(path, with_arrow=True)
    assert found == outcome(path, with_arrow=False)
    return found


def row_of(*fields):
    """A row that begins with these fields; zeros follow."""
    return b",".join([*fields, *[b"0"] * (29 - len(fields))]) + b"\n"


def is_left_to_numpy(monkeypatch, folder, content):
    calls = []
    parse = reading._parse
    monkeypatch.setattr(reading, "_parse", lambda lines: calls.append(lines) or parse(lines))
    path = folder / "HIGGS.csv"
    path.write_bytes(content)
    outcome(path, with_arrow=True)
    return bool(calls)


FORMATS = {
    "as UCI writes them": "%.18e",
    "shortest": "%r",
    "long decimals": "%.60f",
    "many digits": "%.40e",
    "few digits": "%.3g",
    "capital": "%.9E",
    "signed": "%+.17g",
}


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("exponent", [0, -38, -44, -60, 37])
def test_all_ways_to_write_numbers_give_the_same_bits(tmp_path, form, exponent):
    values = np.random.default_rng(0).uniform(-10, 10, (50, 28)) * 10.0**exponent
    lines = [b"1," + ",".join(form % value for value in row.tolist()).encode() for row in values]
    found = both(tmp_path, b"\n".join(lines))
    if form in ("%.18e", "%r", "%.40e"):
        assert found == [(values.astype(np.float32).tobytes(), np.ones(50, np.int64).tobytes())]


def test_the_bits_are_those_of_every_float32(tmp_path):
    """Subnormal ones, zeros of both signs and the largest included."""
    bits = np.random.default_rng(1).integers(0, 1 << 32, (200, 28), dtype=np.uint32)
    bits[0, :6] = [0, 1 << 31, 1, 0x007FFFFF, 0x7F7FFFFF, 0xFF7FFFFF]
    values = bits.view(np.float32)
    values[~np.isfinite(values)] = 1
    text = "".join("0," + ",".join(map(repr, row)) + "\n" for row in values.astype(float).tolist())
    ((features, _),) = both(tmp_path, text.encode())
    assert features == values.tobytes()


def test_numbers_are_rounded_to_float64_and_then_to_float32(tmp_path):
    just_above_the_middle = b"1.00000005960464477539062500001"
    ((features, _),) = both(tmp_path, row_of(b"0", just_above_the_middle))
    assert np.frombuffer(features, np.float32)[0] == 1.0


@needs_pyarrow
def test_ordinary_rows_are_left_to_pyarrow(tmp_path, monkeypatch, higgs_rows, higgs_csv):
    content = higgs_csv(higgs_rows(9))
    assert not is_left_to_numpy(monkeypatch, tmp_path, content)
    assert not is_left_to_numpy(monkeypatch, tmp_path, content.replace(b"\n", b"\r\n"))


FIELDS = {
    **dict.fromkeys([b"1.", b".5", b"+1", b" 1", b"1 ", b"\t1", b"1e5", b"1E-5", b"-0"], True),
    **dict.fromkeys([b"1e-400", b"0" * 400 + b"1", b"0." + b"3" * 800, b"\xa01", b"1e+05"], True),
    **dict.fromkeys([b"nan", b"NaN", b"inf", b"-Infinity", b"1e39", b"1e400", b"3.5e38"], False),
    **dict.fromkeys([b"", b" ", b"0x10", b"1_0", b"1d3", b'"1"', b"'1'", b"1e", b"."], False),
    **dict.fromkeys([b"null", b"NULL", b"NA", b"N/A", b"#N/A", b"true", b"1 2", b"1;2"], False),
    **dict.fromkeys(
        [b"1\r1", b"\xef\xbb\xbf1", b"1\0", b"\\1", b"1f", b"1L", b"--1", b"#1"], False
    ),
}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("place", [1, 2, 28])
def test_both_read_or_refuse_a_field(tmp_path, field, place):
    row = row_of().split(b",")
    row[place] = field + b"\n" * (place == 28)
    found = both(tmp_path, row_of() + b",".join(row) + row_of())
    assert isinstance(found, list) == FIELDS[field]


@pytest.mark.parametrize("label", [b"\xef\xbb\xbf1", b"2", b"0.5", b"-1", b"nan", b"", b'"1"'])
def test_both_refuse_a_label(tmp_path, label):
    assert "row 1, column 1" in both(tmp_path, row_of(label) + row_of())


numbers = st.from_regex(
    rb"[ \t]?[-+]?[0-9]{0,4}(\.[0-9]{0,25})?([eE][-+]?[0-9]{1,3})?[ \t]?", fullmatch=True
)
fields = st.one_of(
    st.floats().map(repr).map(str.encode),
    numbers,
    st.sampled_from(sorted(FIELDS)),
    st.binary(max_size=4),
)


@given(st.lists(fields, min_size=1, max_size=6), st.sampled_from([b"\n", b"\r\n", b"\r", b""]))
def test_both_read_or_refuse_any_fields(tmp_path_factory, written, ending):
    content = row_of() + row_of(b"1", *written)[:-1] + ending
    both(tmp_path_factory.getbasetemp(), content)


@given(st.lists(st.sampled_from([row_of(), row_of()[:-1], b"\r", b"\n", b"\r\n", b",", b" "])))
def test_both_see_the_same_rows(tmp_path_factory, pieces):
    both(tmp_path_factory.getbasetemp(), b"".join(pieces))


class _Refusing:
    """An import that fails, as that of a missing or broken installation does."""

    def __init__(self, error):
        self._error, self._import = error, builtins.__import__

    def __call__(self, name, *arguments, **options):
        if name.partition(".")[0] == "pyarrow":
            raise self._error
        return self._import(name, *arguments, **options)


FAILURES = {
    "missing": ModuleNotFoundError("No module named 'pyarrow'"),
    "another NumPy": RuntimeError("module compiled against another NumPy\nand more lines"),
    "library missing": OSError("libarrow.so: cannot open shared object file"),
    "wordless": AttributeError(),
}


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("error", FAILURES.values(), ids=FAILURES)
def test_without_pyarrow_one_line_says_so_and_the_rows_are_the_same(
    error, tmp_path, monkeypatch, caplog, higgs_rows, higgs_csv
):
    path = tmp_path / "HIGGS.csv"
    path.write_bytes(higgs_csv(higgs_rows(9)))
    expected = outcome(path, with_arrow=False)
    monkeypatch.setattr(builtins, "__import__", _Refusing(error))
    assert outcome(path, with_arrow=True) == outcome(path, with_arrow=True) == expected
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    reason = (str(error) or type(error).__name__).splitlines()[0]
    assert record.getMessage() == (
        f"pyarrow is not used ({reason}): NumPy does its work, in more time; ./starter --extras "
        "installs it"
    )


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("lacking", ["system_memory_pool", "csv.ConvertOptions"])
def test_an_installation_that_lacks_what_is_needed_counts_as_missing(monkeypatch, lacking):
    hollow = ModuleType("pyarrow")
    hollow.csv = ModuleType("pyarrow.csv")
    if lacking == "csv.ConvertOptions":
        hollow.system_memory_pool = lambda: None
    monkeypatch.setitem(sys.modules, "pyarrow", hollow)
    monkeypatch.setitem(sys.modules, "pyarrow.csv", hollow.csv)
    assert arrow_reader() is None


def test_both_read_the_same_from_gzip(tmp_path, higgs_rows, higgs_csv):
    path = tmp_path / "HIGGS.csv.gz"
    path.write_bytes(gzip.compress(higgs_csv(higgs_rows(50))))
    assert outcome(path, with_arrow=True) == outcome(path, with_arrow=False)
