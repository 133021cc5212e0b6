"""What a search may try for one setting. Spaces stand beside the methods that they belong to."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, evenly in their logarithm: rates and penalties."""

    low: float
    high: float


@dataclass(frozen=True)
class Choice:
    """One of `values`: numbers, names or truth values."""

    values: tuple[Any, ...]


Space = dict[str, Range | Choice]
