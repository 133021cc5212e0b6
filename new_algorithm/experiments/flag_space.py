"""Flags of a script that vary, as they are written, tried and given to it."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from new_algorithm.cli.errors import UserError
from new_algorithm.methods.method import Choice, Range, Settings, Space, WholeRange

FORM = "write FLAG=LOW..HIGH or FLAG=VALUE,VALUE"
SWITCH = {"on", "off"}
WHOLE = ("INT", "N", "INT|{full}", "{None}|INT")  # flags of whole numbers, as --help has them


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
            words += [flag_of(name), *(value.split() if isinstance(value, str) else [_word(value)])]
    return words


def fitted(space: Space, kinds: Mapping[str, str]) -> Space:
    """Return the space with whole numbers for flags that take only such; UserError for values that
    a flag does not take.

    kinds: what --help says that follows a flag, by its name; see `Script.kinds`.
    """
    return {name: _fitted(name, values, kinds.get(name)) for name, values in space.items()}


def _fitted(name: str, values: Range | Choice, kind: str | None) -> Range | Choice:
    whole, choices = kind in WHOLE, re.search(r"\{([^}]*)\}", kind or "")
    known = choices[1].split(",") if choices else []
    numbers = [values.low, values.high] if isinstance(values, Range) else values.values
    refused: list[str] = []
    if kind == "":
        refused = [str(number) for number in numbers if number not in SWITCH]
        takes = "is a switch: give on,off"
    elif whole or kind == "FLOAT":
        refused = [_word(n) for n in numbers if n not in known and not _is_number(n, whole)]
        takes = f"takes {'whole ' * whole}numbers"
    elif choices and kind == choices[0]:
        refused = [_word(number) for number in numbers if number not in known]
        takes = f"takes {', '.join(known)}"
    if refused:
        raise UserError(f"--vary {flag_of(name)[2:]}: {refused[0]} does not fit: the flag {takes}")
    return WholeRange(values.low, values.high) if whole and isinstance(values, Range) else values


def _is_number(value: Any, whole: bool) -> bool:
    try:
        return float(value).is_integer() or not whole
    except ValueError:
        return False


def _word(value: Any) -> str:
    """Without an exponent where it is whole, which flags of whole numbers do not take."""
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if value == int(value) else f"{value:g}"


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
