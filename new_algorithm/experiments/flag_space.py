"""Flags of a script that vary, as they are written, tried and given to it."""

import math
import re
from collections.abc import Sequence

from new_algorithm.cli.errors import UserError
from new_algorithm.methods.method import Choice, Range, Settings, Space

FORM = "write FLAG=LOW..HIGH or FLAG=VALUE,VALUE"
SWITCH = {"on", "off"}


def parse_space(pieces: Sequence[str]) -> Space:
    """Return the space by the flags' names, values of choices as typed; UserError names a piece."""
    space: Space = {}
    for piece in pieces:
        flag, equals, text = piece.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z][\w-]*", flag):
            raise UserError(f"--vary {piece}: {FORM}, the flag without its dashes")
        name = flag.replace("-", "_")
        if name in space:
            raise UserError(f"--vary {piece}: {flag} varies already: give each flag once")
        space[name] = _range(piece, text) if ".." in text else _choice(piece, text)
    if not space:
        raise UserError(f"--vary names no flag: {FORM}")
    return space


def flag_of(name: str) -> str:
    """Return the flag of a setting."""
    return "--" + name.replace("_", "-")


def arguments(settings: Settings) -> list[str]:
    """Return the settings as a script takes them."""
    words: list[str] = []
    for name, value in settings.items():
        if value in SWITCH:
            words += [flag_of(name)] if value == "on" else []
        else:
            words += [flag_of(name), *(value.split() if isinstance(value, str) else [f"{value:g}"])]
    return words


def shown(settings: Settings) -> str:
    """Return the settings in a line."""
    return " ".join(
        f"{name}={value}" if isinstance(value, str) else f"{name}={value:g}"
        for name, value in settings.items()
    )


def _range(piece: str, text: str) -> Range:
    try:
        low, high = map(float, text.split(".."))
    except ValueError:
        raise UserError(f"--vary {piece}: {FORM}, LOW and HIGH being numbers") from None
    if not 0 < low < high < math.inf:
        raise UserError(f"--vary {piece}: give LOW..HIGH with 0 < LOW < HIGH")
    return Range(low, high)


def _choice(piece: str, text: str) -> Choice:
    values = tuple(" ".join(value.split()) for value in text.split(","))
    if not all(values):
        raise UserError(f"--vary {piece}: a value is empty: {FORM}")
    if len(set(values)) < max(2, len(values)):
        raise UserError(
            f"--vary {piece}: give two values or more that differ; one that is fixed does not vary"
        )
    if SWITCH & set(values) and set(values) != SWITCH:
        raise UserError(f"--vary {piece}: a switch is on,off and takes no other value")
    return Choice(values)
