"""What advice consists of."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 100  # columns of printed text


@dataclass(frozen=True)
class Suggestion:
    """One thing to reconsider.

    where: a part of the model or a setting. seen: what was found there. why: what is wrong with
    that. instead: what to write. source: of the reason, authors and year. rule: its name.
    """

    where: str
    seen: str
    why: str
    instead: str
    source: str
    rule: str = ""

    def __str__(self) -> str:
        lines = [self.where]
        for name in ("seen", "why", "instead", "source"):
            text = f"{name + ':':9}{getattr(self, name)}"
            lines.append(
                textwrap.fill(text, WIDTH, initial_indent="   ", subsequent_indent=12 * " ")
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class Note:
    """What could not be looked at, and why."""

    text: str

    def __str__(self) -> str:
        return textwrap.fill(f"Note: {self.text}", WIDTH, subsequent_indent="   ")


def some(names: Sequence[str], shown: int = 3) -> str:
    """The first few names, and how many there are."""
    if len(names) <= shown:
        return ", ".join(names)
    return f"{', '.join(names[:shown])}, … ({len(names)} in all)"
