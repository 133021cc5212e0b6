"""A progress bar on stderr, where somebody watches; the log stays clean."""

from collections.abc import Iterable
from typing import TypeVar

from tqdm.auto import tqdm

from new_algorithm.lab.ranks import rank_of_this_process

Item = TypeVar("Item")


def _hidden() -> bool | None:
    """None leaves it to tqdm, which hides bars where stderr is no terminal."""
    return True if rank_of_this_process() > 0 else None


def progress(items: Iterable[Item], name: str, total: int) -> Iterable[Item]:
    """Yield `items`, showing how many of `total` are done; the bar goes when they are."""
    return tqdm(items, name, total, leave=False, disable=_hidden())


def byte_progress(name: str, total: int | None, done: int = 0) -> tqdm:
    """A bar of bytes for `with`, updated by hand; `total` is None where nobody knows it."""
    bar = {"unit": "B", "unit_scale": True, "leave": False, "disable": None}
    return tqdm(desc=name, total=total, initial=done, **bar)
