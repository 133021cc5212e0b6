"""R's files, from bytes written by the manual of the format."""

import bz2
import gzip
import lzma
import struct
import zlib

import numpy as np
import pytest

from datasets.public_tables.r_format import frame_of, read_database, read_rda
from new_algorithm.cli.errors import UserError
from tests.datasets.public_tables.r_writer import (
    HEADER,
    NIL,
    attributes,
    data_frame,
    factor,
    integers,
    rda,
    reals,
    text,
    texts,
    word,
)

MISSING = -(2**31)
FRAME = data_frame(
    3,
    size=reals(1.5, -2.0, np.nan),
    count=integers(7, MISSING, 9),
    flag=integers(1, 0, MISSING, flags=10),
    colour=factor([2, 1, MISSING], ["blue", "réd"]),
    name=texts("a", None, "c"),
)


@pytest.mark.parametrize("packed", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_data_frame_of_every_kind_of_column(packed):
    frame = frame_of(read_rda(packed(rda(other=reals(1.0), table=FRAME)))["table"])
    assert list(frame) == ["size", "count", "flag", "colour", "name"]
    np.testing.assert_array_equal(frame["size"], [1.5, -2.0, np.nan])
    np.testing.assert_array_equal(frame["count"], [7, np.nan, 9])
    np.testing.assert_array_equal(frame["flag"], [1, 0, np.nan])
    assert frame["colour"].tolist() == ["réd", "blue", None]
    assert frame["name"].tolist() == ["a", None, "c"]


def test_a_name_that_occurs_again_is_a_reference():
    again = word(2 | 1 << 10) + word(255 | 1 << 8) + reals(3.0) + NIL  # the first symbol, `a`
    named = attributes(a=reals(1.0), b=reals(2.0))[: -len(NIL)]
    found = read_rda(b"RDX2\n" + HEADER + named + again)
    assert {name: item.value.tolist() for name, item in found.items()} == {"a": [3.0], "b": [2.0]}


def test_compact_sequences_and_wrapped_values_of_version_3():
    sequence = word(2) + word(1) + text("compact_intseq") + NIL
    wrapper = word(2) + word(1) + text("wrap_real") + NIL
    columns = {
        "n": word(238) + sequence + reals(3.0, 5.0, 1.0) + NIL,
        "x": word(238) + wrapper + word(2) + reals(1.0, 2.0, 4.0) + NIL + NIL,
    }
    version_3 = b"X\n" + word(3, 0x40000, 0x30500, 5) + b"UTF-8"
    body = b"RDX3\n" + version_3 + attributes(t=data_frame(3, **columns))
    frame = frame_of(read_rda(body)["t"])
    assert frame["n"].tolist() == [5.0, 6.0, 7.0]
    assert frame["x"].tolist() == [1.0, 2.0, 4.0]


def database(*, by_zlib):
    """Two objects in Rdata.rdb, and its index."""
    chunks = []
    for item in (reals(8.0), FRAME):
        body = HEADER + item
        if by_zlib:
            packed = zlib.compress(body)
        else:
            lzma2 = [{"id": lzma.FILTER_LZMA2, "preset": 6}]
            packed = b"Z" + lzma.compress(body, lzma.FORMAT_RAW, filters=lzma2)
        chunks.append(struct.pack(">i", len(body)) + packed)
    places = [integers(0, len(chunks[0])), integers(len(chunks[0]), len(chunks[1]))]
    names = attributes(names=texts("one", "table"))
    variables = word(19 | 1 << 9, 2) + b"".join(places) + names
    outer = attributes(names=texts("variables", "compressed"))
    index = HEADER + word(19 | 1 << 9, 2) + variables + integers(1) + outer
    return zlib.compress(index), b"".join(chunks)


@pytest.mark.parametrize("by_zlib", [True, False])
def test_an_object_of_a_packages_database(by_zlib):
    frame = frame_of(read_database(*database(by_zlib=by_zlib), "table"))
    assert frame["colour"].tolist() == ["réd", "blue", None]
    with pytest.raises(UserError, match="no absent in the database: it has one, table"):
        read_database(*database(by_zlib=by_zlib), "absent")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not R",
        rda(table=FRAME)[:-60],
        b"RDX2\n" + HEADER + attributes(f=word(3)),
        b"RDX2\nA\n",
        gzip.compress(rda(table=FRAME))[:-20],
    ],
    ids=["empty", "text", "cut short", "a function", "R's text form", "gzip cut short"],
)
def test_what_is_no_data_is_refused_in_one_line(content):
    with pytest.raises(UserError) as refused:
        read_rda(content)
    assert "\n" not in str(refused.value)
