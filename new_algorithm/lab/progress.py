"""A progress bar on stderr, where somebody watches; the log stays clean."""

from collections.abc import Iterable
from typing import TypeVar

from tqdm.auto import tqdm

Item = TypeVar("Item")


def progress(items: Iterable[Item], name: str, total: int) -> Iterable[Item]:
    """Yield `items`, showing how many of `total` are done; the bar goes when they are."""
    return tqdm(items, name, total, leave=False, disable=None)
