"""Which columns of a table are used, and how."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets.preprocessing import Missing
from datasets.table.files import TableFile, open_table
from datasets.targets import Task
from new_algorithm.cli.errors import UserError

LISTED_COLUMNS = 30


@dataclass(frozen=True)
class TableOptions:
    """target: names of the columns to learn; several are targets of one regression, or one-hot
    classes. task: what they make, where it cannot be told. missing: whether features that lack
    values are refused or filled. drop: columns to leave out."""

    target: tuple[str, ...] = ()
    task: Task | None = None
    missing: Missing = "refuse"
    drop: tuple[str, ...] = ()


def check_table(path: Path, options: TableOptions) -> tuple[TableFile, list[str]]:
    """The open table, and the names of its features; UserError for columns that are not there."""
    file = open_table(path)
    if not options.target:
        raise UserError(
            f"{path}: say with --target which column is to be learned; there are "
            f"{listed(file.names)}"
        )
    for flag, names in (("--target", options.target), ("--drop", options.drop)):
        for name in names:
            if name not in file.names:
                raise UserError(
                    f"{path}: {flag} {name!r} is no column; {_similar(name, file.names)}there are "
                    f"{listed(file.names)}"
                )
            if names.count(name) > 1:
                raise UserError(f"{path}: {flag} names {name!r} twice; once is enough")
    if both := set(options.target) & set(options.drop):
        raise UserError(f"{path}: {min(both)!r} is both target and dropped; choose one")
    features = [n for n in file.names if n not in (*options.target, *options.drop)]
    if not features:
        raise UserError(f"{path}: no column is left to learn from beside the target; drop fewer")
    return file, features


def listed(names: Sequence[str]) -> str:
    more = len(names) - LISTED_COLUMNS
    return ", ".join(names[:LISTED_COLUMNS]) + (f" and {more} more" if more > 0 else "")


def _similar(name: str, names: Sequence[str]) -> str:
    similar = [known for known in names if known.lower() == name.lower()]
    similar = similar or difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, similar))}? " if similar else ""
