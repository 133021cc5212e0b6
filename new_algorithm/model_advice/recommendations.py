"""The table of recommended architectures, losses and augmentations: recommendations.toml."""

import textwrap
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from new_algorithm.model_advice.suggestion import WIDTH

FILE = Path(__file__).with_suffix(".toml")
PARTS = ("architectures", "losses", "augmentations")


@dataclass(frozen=True)
class Recommendation:
    name: str
    when: str
    source: str


def recommended(task: str, part: str) -> list[Recommendation]:
    """The entries of one of PARTS for a task, the first one to try first."""
    return [Recommendation(**entry) for entry in _table()[task][part]]


def recommendations_text(task: str) -> str:
    """All that the table has for a task, as text."""
    lines = [f"To begin with, for {task}:"]
    for part in PARTS:
        lines.append(f"   {part}")
        for one in recommended(task, part):
            text = f"{one.name}: {one.when} ({one.source})"
            lines.append(
                textwrap.fill(text, WIDTH, initial_indent=6 * " ", subsequent_indent=9 * " ")
            )
    return "\n".join(lines)


@cache
def _table() -> dict[str, dict[str, list[dict[str, str]]]]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))
