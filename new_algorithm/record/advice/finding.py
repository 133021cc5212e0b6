"""One finding on a run, and how it reads."""

from dataclasses import dataclass
from typing import Any, Literal

from new_algorithm.plots.series import Series

Record = dict[str, Any]  # what run.json holds


@dataclass(frozen=True)
class Finding:
    """severity: a warning where something is wrong, a hint where something else may be tried.

    seen: the evidence, with its numbers. cause: the likely one; empty of a hint that needs none.
    flag: the one to try, with a value, of those that the run's own script has; None without one.
    words: what to do where no flag does it, as a sentence without its full stop.
    """

    severity: Literal["warning", "hint"]
    name: str
    seen: str
    cause: str = ""
    flag: str | None = None
    words: str = ""

    @property
    def sentence(self) -> str:
        cause = f" Likely cause: {self.cause}." if self.cause else ""
        remedy = f" Try `{self.flag}`." if self.flag else f" {self.words}." if self.words else ""
        return f"**{self.name}** ({self.severity}): {self.seen}.{cause}{remedy}"


def warning(name: str, seen: str, cause: str, flag: str | None = None, words: str = "") -> Finding:
    return Finding("warning", name, seen, cause, flag, words)


def hint(name: str, seen: str, cause: str = "", flag: str | None = None) -> Finding:
    return Finding("hint", name, seen, cause, flag)


__all__ = ["Finding", "Record", "Series", "hint", "warning"]
