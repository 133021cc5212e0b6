"""Markdown pieces for the notes and the index."""

from collections.abc import Iterable, Sequence
from typing import Any


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, one line a row; bars and line ends inside cells are made harmless."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def bullets(items: Iterable[str]) -> str:
    return "".join(f"- {item}\n" for item in items)


def show(value: Any) -> str:
    """`value` for a reader: floats to 5 digits, nested values as `key=value`, None as nothing."""
    if isinstance(value, dict):
        return ", ".join(f"{key}={show(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(show, value))
    if isinstance(value, float):
        return f"{value:.5g}"
    return "" if value is None else str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
