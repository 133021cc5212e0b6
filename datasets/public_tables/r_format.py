"""Data frames of R, read without R: `.rda` files, and the databases of installed packages.

R's binary serialization, "R Internals", section 1.8: every item is a word of flags, whose last byte
is its type, then its parts in big-endian order. Only what data frames are made of is understood;
nothing is ever run.
"""

import bz2
import gzip
import lzma
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from new_algorithm.cli.errors import UserError

Column = NDArray  # float64, NaN where missing; or str objects, None where missing
Frame = dict[str, Column]

SYMBOL, PAIRS, ENVIRONMENT, CHARACTERS, LOGICAL, INTEGER = 1, 2, 4, 9, 10, 13
REAL, STRINGS, LIST, COMPACT, POINTER = 14, 16, 19, 238, 22
PAIRS_WITH_ATTRIBUTES, LANGUAGE_WITH_ATTRIBUTES, LANGUAGE = 239, 240, 6
NAMESPACE, PACKAGE, REFERENCE = 249, 250, 255
NOTHING = range(241, 255)  # markers without parts, such as the empty list; but 249, 250
HAS_ATTRIBUTES, HAS_TAG = 1 << 9, 1 << 10
MISSING_INTEGER = -(2**31)
LZMA2 = {"id": lzma.FILTER_LZMA2, "preset": 6}  # as R writes it, without a header
OPENERS: dict[bytes, Callable[[bytes], bytes]] = {
    **{b"\x1f\x8b": gzip.decompress, b"BZ": bz2.decompress, b"\xfd7": lzma.decompress},
    b"\x78": zlib.decompress,
}


@dataclass
class Item:
    """A value of R: an array, a list of items, a text or None; with attributes by name."""

    value: Any
    attributes: dict[str, "Item"] = field(default_factory=dict)

    def texts(self, attribute: str) -> list[str]:
        return list(self.attributes[attribute].value) if attribute in self.attributes else []


def read_rda(content: bytes) -> dict[str, Item]:
    """The objects of an .rda file by name; UserError if it is none."""
    body = _decompressed(content)
    if body[:5] not in (b"RDX2\n", b"RDX3\n"):
        raise UserError("not an .rda file of R in its binary form")
    return _unserialize(body[5:]).value


def read_database(index: bytes, database: bytes, name: str) -> Item:
    """The object `name` of Rdata.rdx and Rdata.rdb; UserError if it is not among them."""
    found = _unserialize(_decompressed(index))
    places = _named(_named(found)["variables"])
    if name not in places:
        raise UserError(f"no {name} in the database: it has {', '.join(sorted(places))}")
    start, length = (int(number) for number in places[name].value)
    chunk = database[start : start + length]  # its uncompressed length in 4 bytes, then zlib
    if chunk[4:5] == b"Z":  # or a letter, then xz
        return _unserialize(lzma.decompress(chunk[5:], lzma.FORMAT_RAW, filters=[LZMA2]))
    return _unserialize(zlib.decompress(chunk[4:]))


def frame_of(item: Item) -> Frame:
    """The columns of a data frame: numbers and logicals as floats, factors and texts as texts."""
    return {name: _column(part) for name, part in _named(item).items()}


def _column(item: Item) -> Column:
    values = item.value
    if isinstance(values, list):
        return np.array(values, object)
    numbers = np.where(values == MISSING_INTEGER, np.nan, values.astype(np.float64))
    if levels := item.texts("levels"):
        named = np.array([None, *levels], object)
        return named[np.nan_to_num(numbers).astype(np.int64)]
    return numbers


def _named(item: Item) -> dict[str, Item]:
    return dict(zip(item.texts("names"), item.value, strict=True))


def _decompressed(content: bytes) -> bytes:
    try:
        for magic, opened in OPENERS.items():
            if content.startswith(magic):
                return opened(content)
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise UserError(f"damaged: {error}") from error
    return content


def _unserialize(body: bytes) -> Item:
    try:
        return _Reader(body).read()
    except (struct.error, IndexError, KeyError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"damaged, or not a data frame of R ({error})") from error


class _Reader:
    """Reads one item after the other from the bytes of a serialization."""

    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 2
        self._seen: list[Item] = []  # what later items may refer to
        if body[:2] != b"X\n":
            raise UserError("not a serialization of R in its binary form")
        version, *_ = (self._int() for _ in range(3))
        if version == 3:
            self._take(self._int())  # the encoding of texts that do not tell theirs
        self._readers: Mapping[int, Callable[[int], Item]] = {
            SYMBOL: lambda _: self._remember(Item(self.read().value)),
            PAIRS: self._pairs,
            LANGUAGE: self._pairs,
            PAIRS_WITH_ATTRIBUTES: self._pairs,
            LANGUAGE_WITH_ATTRIBUTES: self._pairs,
            ENVIRONMENT: self._environment,
            POINTER: self._pointer,
            NAMESPACE: self._namespace,
            PACKAGE: self._namespace,
            CHARACTERS: self._characters,
            LOGICAL: lambda _: self._numbers(">i4"),
            INTEGER: lambda _: self._numbers(">i4"),
            REAL: lambda _: self._numbers(">f8"),
            STRINGS: self._list_of_values,
            LIST: self._list_of_items,
            COMPACT: self._compact,
        }

    def read(self) -> Item:
        flags = self._int()
        kind = flags & 0xFF
        if kind == REFERENCE:
            return self._seen[(flags >> 8 or self._int()) - 1]
        if kind in self._readers:
            item = self._readers[kind](flags)
        elif kind in NOTHING:
            item = Item({})
        else:
            raise UserError(f"type {kind} of R is not one of a data frame's")
        if flags & HAS_ATTRIBUTES and kind in (LOGICAL, INTEGER, REAL, STRINGS, LIST, POINTER):
            item.attributes = self.read().value
        elif flags & HAS_ATTRIBUTES and kind == CHARACTERS:
            self.read()
        return item

    def _pairs(self, flags: int) -> Item:
        """A linked list of names and items, as a dictionary."""
        pairs: dict[str, Item] = {}
        while flags & 0xFF in (PAIRS, LANGUAGE, PAIRS_WITH_ATTRIBUTES, LANGUAGE_WITH_ATTRIBUTES):
            attributed = flags & HAS_ATTRIBUTES or flags & 0xFF > PAIRS_WITH_ATTRIBUTES - 1
            if attributed:
                self.read()
            name = self.read().value if flags & HAS_TAG else str(len(pairs))
            pairs[name] = self.read()
            flags = self._int()
        if flags & 0xFF not in NOTHING:
            self._at -= 4
            self.read()  # the end of a pair that is no list
        return Item(pairs)

    def _environment(self, _: int) -> Item:
        item = self._remember(Item({}))
        self._int()
        for _part in range(4):  # enclosure, frame, hash table, attributes
            self.read()
        return item

    def _pointer(self, _: int) -> Item:
        item = self._remember(Item({}))
        self.read(), self.read()
        return item

    def _namespace(self, _: int) -> Item:
        self._int()
        for _part in range(self._int()):
            self.read()
        return self._remember(Item({}))

    def _characters(self, _: int) -> Item:
        length = self._int()
        return Item(None if length < 0 else self._take(length).decode())

    def _numbers(self, dtype: str) -> Item:
        kind = np.dtype(dtype)
        count = self._int()
        taken = self._take(count * kind.itemsize)
        return Item(np.frombuffer(taken, kind).astype(kind.newbyteorder("=")))

    def _list_of_values(self, _: int) -> Item:
        return Item([self.read().value for _ in range(self._int())])

    def _list_of_items(self, _: int) -> Item:
        return Item([self.read() for _ in range(self._int())])

    def _compact(self, _: int) -> Item:
        """ALTREP: a sequence as count, start and step, or an array in a wrapper."""
        kind, state, attributes = self.read(), self.read(), self.read()
        name = next(iter(kind.value.values())).value
        if name.startswith("compact_"):
            count, start, step = state.value
            return Item(start + step * np.arange(count), attributes.value)
        wrapped = next(iter(state.value.values())) if isinstance(state.value, dict) else state
        return Item(wrapped.value, attributes.value or wrapped.attributes)

    def _remember(self, item: Item) -> Item:
        self._seen.append(item)
        return item

    def _int(self) -> int:
        (number,) = struct.unpack_from(">i", self._body, self._at)
        self._at += 4
        return number

    def _take(self, count: int) -> bytes:
        taken = self._body[self._at : self._at + count]
        if len(taken) != count:
            raise IndexError("cut short")
        self._at += count
        return taken
