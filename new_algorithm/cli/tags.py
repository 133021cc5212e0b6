"""Tags: the names under which runs are filed."""

import re
from collections.abc import Iterator
from datetime import datetime

from new_algorithm.cli.errors import UserError

MAX_LENGTH = 100
RESERVED = {"readme.md", "local_runs.md"}  # lie beside the folders named by tags


def validate_tag(tag: str, flag: str = "--tag") -> None:
    """UserError unless `tag` is a safe folder name of 1 to 100 characters."""
    shown = repr(tag if len(tag) <= MAX_LENGTH else tag[:20] + "...")
    if not 1 <= len(tag) <= MAX_LENGTH:
        raise UserError(
            f"{flag} {shown} has {len(tag)} characters: give a name of 1 to {MAX_LENGTH}"
        )
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", tag):
        raise UserError(
            f"{flag} {shown} is not allowed: use letters, digits, '.', '_' and '-', "
            "and start with a letter, a digit or '_'"
        )
    if tag.lower() in RESERVED:
        raise UserError(f"{flag} {shown} is the name of an index of runs: choose another")


def dated_tags(script_stem: str, now: datetime) -> Iterator[str]:
    """`script_2026-11-20_134501`, then the same with _2, _3, ... for as long as asked."""
    stem = re.sub(r"[^A-Za-z0-9_]", "_", script_stem)[:60]
    first = f"{stem}_{now:%Y-%m-%d_%H%M%S}"
    yield first
    number = 2
    while True:
        yield f"{first}_{number}"
        number += 1
