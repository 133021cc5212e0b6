"""Dataclasses from what TOML and JSON have for their fields, every value checked by its type."""

import difflib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from new_algorithm.cli.errors import UserError

Part = TypeVar("Part")

WANTED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text in quotes",
    dict: "a table",
    tuple: "a list",
}


def read_entries(kind: type[Part], entries: Any, where: str, **known: Any) -> Part:
    """Return the dataclass `kind` made of what TOML or JSON have for its fields, lists as tuples.

    known: fields that are no entries. UserError names the entry, its value and what is wanted.
    """
    hints = get_type_hints(kind, include_extras=True)
    if not isinstance(entries, dict):
        raise unfit(where, entries, WANTED[dict])
    check_names(where, entries, hints.keys() - known.keys())
    for name in _needed(kind):
        if name not in {*entries, *known}:
            raise UserError(f"{where}: {name} is missing")
    read = {
        name: read_value(hints[name], value, f"{where}: {name}") for name, value in entries.items()
    }
    return kind(**known, **read)


def read_one_of(kinds: Sequence[type[Part]], entries: Any, where: str, **known: Any) -> Part:
    """Return the dataclass whose necessary entries are there, or else that has most of them.

    The first of equals; one for which nothing is necessary counts by the latter.
    """
    given = {*entries} if isinstance(entries, dict) else set()

    def fits(kind: type[Part]) -> tuple[bool, int]:
        needed = _needed(kind).keys() - known.keys()
        return bool(needed) and needed <= given, len(given & get_type_hints(kind).keys())

    return read_entries(max(kinds, key=fits), entries, where, **known)


def _needed(kind: type[Any]) -> dict[str, None]:
    """The names of fields without a default, in order."""
    names = (
        one.name
        for one in fields(kind)
        if one.default is MISSING and one.default_factory is MISSING
    )
    return dict.fromkeys(names)


def read_value(hint: Any, value: Any, where: str) -> Any:
    """Return `value` as a field of that type has it; UserError says what is wanted instead."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType) and NoneType in inner:  # which JSON has
        return None if value is None else read_value(inner[0], value, where)
    if kind in (Union, UnionType):
        return read_one_of(inner, value, where)
    if is_dataclass(kind):
        return read_entries(kind, value, where)  # type: ignore[arg-type]
    if kind is Annotated and isinstance(inner[1], str):  # what is wanted, never an empty list
        if not (value and isinstance(value, list)):
            raise unfit(where, value, inner[1])
        return read_value(inner[0], value, where)
    if kind is tuple and isinstance(value, list):
        return tuple(read_value(inner[0], item, where) for item in value)
    if kind is Literal:
        sound, wanted = value in inner, f"one of {', '.join(inner)}"
    elif kind is Annotated:
        plain, rule = inner
        sound, wanted = is_plain(plain, value) and rule.holds(value), rule.demand
    else:
        sound, wanted = is_plain(kind, value), WANTED[kind]
    if not sound:
        raise unfit(where, value, wanted)
    return value


def is_plain(kind: type, value: Any) -> bool:
    """Whether a plain value is of that type; every whole number is a number, and no boolean is."""
    numbers_too = int | float if kind is float else kind
    return isinstance(value, numbers_too) and isinstance(value, bool) == (kind is bool)


def unfit(where: str, value: Any, wanted: str) -> UserError:
    shown = json.dumps(value, ensure_ascii=False, default=str)
    return UserError(f"{where}: {shown} is not allowed: give {wanted}")


def check_names(where: str, given: Iterable[str], known: Collection[str]) -> None:
    """UserError for an entry that nothing knows."""
    for entry in given:
        if entry not in known:
            near = difflib.get_close_matches(entry, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
            raise UserError(f"{where}: unknown entry {entry!r}: {hint}")
