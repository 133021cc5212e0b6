"""A few of R's values as R serializes them, written from "R Internals", section 1.8."""

import struct

HEADER = b"X\n" + struct.pack(">iii", 2, 0x30600, 0x20300)
NIL = struct.pack(">i", 254)


def word(*numbers):
    return struct.pack(f">{len(numbers)}i", *numbers)


def text(value):
    if value is None:
        return word(9, -1)
    raw = value.encode()
    return word(9 | 1 << 18, len(raw)) + raw


def texts(*values):
    return word(16, len(values)) + b"".join(map(text, values))


def reals(*values, flags=14):
    return word(flags, len(values)) + struct.pack(f">{len(values)}d", *values)


def integers(*values, flags=13):
    return word(flags, len(values), *values)


def attributes(**items):
    """A pairlist with tags, for an item whose flags have 1 << 9."""
    pairs = [word(2 | 1 << 10) + word(1) + text(name) + item for name, item in items.items()]
    return b"".join(pairs) + NIL


def factor(codes, levels):
    own = attributes(levels=texts(*levels), **{"class": texts("factor")})
    return integers(*codes, flags=13 | 1 << 8 | 1 << 9) + own


def data_frame(rows, **columns):
    """Row names are R's short form, NA and minus their number."""
    own = attributes(
        names=texts(*columns),
        **{"row.names": integers(-(2**31), -rows), "class": texts("data.frame")},
    )
    return word(19 | 1 << 8 | 1 << 9, len(columns)) + b"".join(columns.values()) + own


def rda(**objects):
    """An .rda file, not compressed."""
    return b"RDX2\n" + HEADER + attributes(**objects)
