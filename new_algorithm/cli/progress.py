"""A progress bar on stderr, where somebody watches; the log stays clean."""

import multiprocessing
import sys
import time
from collections.abc import Iterable
from typing import TypeVar

from tqdm.auto import tqdm

from new_algorithm.cli.ranks import rank_of_this_process

Item = TypeVar("Item")


def _hidden() -> bool | None:
    """None leaves it to tqdm, which hides bars where stderr is no terminal."""
    one_of_several = rank_of_this_process() > 0 or multiprocessing.parent_process() is not None
    return True if one_of_several or sys.stderr is None else None  # None: closed, as by 2>&-


def progress(items: Iterable[Item], name: str, total: int) -> Iterable[Item]:
    """Yield `items`, showing how many of `total` are done; the bar goes when they are."""
    return tqdm(items, name, total, leave=False, disable=_hidden())


def byte_progress(name: str, total: int) -> tqdm:
    """A bar of bytes for `with`, updated by hand."""
    return tqdm(None, name, total, leave=False, disable=_hidden(), unit="B", unit_scale=True)


class Countdown(tqdm):
    """A bar over long jobs, and a line for each on stdout with an estimate of the time left."""

    def __init__(self, total: int) -> None:
        super().__init__(None, "runs", total, leave=False, disable=_hidden())
        self._total, self._done, self._start = total, 0, time.monotonic()

    def advance(self, steps: int, text: str | None = None) -> None:
        """Count what was done, and say what it was; without a text it was done before."""
        self.update(steps)
        if text is None:
            self._total -= steps
            return
        self._done += steps
        seconds = (time.monotonic() - self._start) * (self._total / self._done - 1)
        with self.external_write_mode():
            print(f"[{self._done}/{self._total}, {duration(seconds)} left] {text}", flush=True)


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
