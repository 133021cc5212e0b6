"""What a part of an analysis finds, and what every part is to the script that runs them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from numpy.typing import NDArray

from new_algorithm.analysis.subject import Subject
from new_algorithm.record.figures import Tables
from new_algorithm.record.files import Row


class Table(NamedTuple):
    """name: of its file, <name>.csv. title: a sentence. shown: whether a reader wants the rows
    themselves, or the figure that is drawn of them alone."""

    name: str
    title: str
    rows: list[Row]
    shown: bool = True


@dataclass
class Findings:
    """tables, and arrays by name for what is no table, such as pictures: <name>.npy. sentences:
    what follows from them, with the numbers that it rests on. failed: whether these say why there
    is nothing else."""

    tables: list[Table] = field(default_factory=list)
    arrays: dict[str, NDArray] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)
    failed: bool = False


@dataclass(frozen=True)
class Settings:
    """rows: of the training and of the held-out rows each, drawn by the seed, where all would take
    too long. other: a second run, of those parts that compare two."""

    rows: int
    seed: int
    other: Subject | None = None


@dataclass(frozen=True)
class Part:
    """name: what --parts calls it. title: of its section. analyse: the subject → what is found,
    from the record and the data alone. figures: what draws its tables and arrays, by file name, as
    record/figures.py has it. captions: of these figures, by their names."""

    name: str
    title: str
    analyse: Callable[[Subject, Settings], Findings]
    figures: Tables = field(default_factory=dict)
    captions: Mapping[str, str] = field(default_factory=dict)
