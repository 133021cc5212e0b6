"""From the columns of a table to what a network sees: one-hot, filled, standardised.

A table is a float64 array (n, columns): numbers; of categories their places, UNKNOWN for a text
that is none of them; NaN where a value is missing. All constants are those of the training rows,
and the record of a run holds them: `from_json` gives back what new rows need.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from datasets.mapped_files import BLOCK_ELEMENTS, Standardiser, row_blocks

Missing = Literal["refuse", "median"]
UNKNOWN = -1


@dataclass(frozen=True)
class Column:
    """A column of a table.

    categories: its texts, in the order of their features; None for numbers. median: of the numbers,
    in the place of missing ones, which stay NaN without. indicator: whether a further feature says
    that a value is missing.
    """

    name: str
    categories: tuple[str, ...] | None = None
    median: float | None = None
    indicator: bool = False

    @property
    def features(self) -> list[str]:
        """The names of what becomes of it."""
        names = [self.name]
        if self.categories is not None:
            names = [f"{self.name}={category}" for category in self.categories]
        return names + [f"{self.name} is missing"] * self.indicator

    def expand(self, values: NDArray) -> NDArray[np.float64]:
        """(n,) as a table has them -> (n, features), not yet standardised."""
        missing = np.isnan(values)
        if self.categories is None:
            expanded = np.where(missing, np.nan if self.median is None else self.median, values)
            expanded = expanded[:, None]
        else:
            expanded = values[:, None] == np.arange(len(self.categories))
        if self.indicator:
            expanded = np.column_stack([expanded, missing])
        return expanded.astype(np.float64)

    def to_json(self) -> dict[str, Any]:
        own: dict[str, Any] = {"median": self.median}
        if self.categories is not None:
            own = {"categories": list(self.categories)}
        return {"name": self.name} | own | {"indicator": self.indicator}

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> "Column":
        categories = facts.get("categories")
        return cls(**facts | {"categories": None if categories is None else tuple(categories)})


@dataclass(frozen=True)
class Preprocessing:
    """Column by column, then (feature − mean)/sd.

    means, sds: one a feature. The sd of what is constant in training is 1, or infinite, so that it
    is 0 whatever it was: of categories that training lacks. missing: whether rows may lack values.
    """

    columns: tuple[Column, ...]
    means: tuple[float, ...]
    sds: tuple[float, ...]
    missing: Missing = "refuse"

    @classmethod
    def fit(
        cls,
        columns: Sequence[Column],
        table: NDArray,
        chosen: NDArray[np.bool_] | None = None,
        missing: Missing = "refuse",
    ) -> "Preprocessing":
        """The constants of the rows of `table` that are `chosen`, (n,), one or more; all without.

        `columns` need names and categories alone.
        """
        rows = np.ones(len(table), bool) if chosen is None else chosen
        if missing == "median":
            columns = [_fill(column, table[:, i][rows]) for i, column in enumerate(columns)]
        fitted = cls(tuple(columns), (), (), missing)
        step = fitted.block_rows
        scale = Standardiser.fit_blocks(
            lambda: (fitted.expand(block) for block in chosen_blocks(table, rows, step))
        )
        absent = [
            column.categories is not None and mean == 0
            for column, mean in zip(fitted._column_of_features(), scale.mean, strict=True)
        ]
        sd = np.where(np.isinf(scale.sd) & ~np.array(absent, bool), 1.0, scale.sd)
        return replace(fitted, means=tuple(scale.mean.tolist()), sds=tuple(sd.tolist()))

    @classmethod
    def of_numbers(cls, names: Sequence[str], scale: Standardiser) -> "Preprocessing":
        """What a data set of numbers alone is standardised with."""
        columns = tuple(Column(name) for name in names)
        return cls(columns, tuple(scale.mean.tolist()), tuple(scale.sd.tolist()))

    @property
    def features(self) -> list[str]:
        return [name for column in self.columns for name in column.features]

    @property
    def block_rows(self) -> int:
        """How many rows to take at a time, for blocks of a moderate size."""
        return max(1, BLOCK_ELEMENTS // max(1, len(self.features)))

    def expand(self, table: NDArray) -> NDArray[np.float64]:
        """(n, columns) -> (n, features), not yet standardised."""
        return np.column_stack(
            [column.expand(table[:, i]) for i, column in enumerate(self.columns)]
        )

    def transform(self, table: NDArray) -> NDArray[np.float32]:
        """(n, columns) -> (n, features); infinite where a value is then beyond float32."""
        scale = Standardiser(np.array(self.means), np.array(self.sds))
        scaled = np.empty((len(table), len(self.means)), np.float32)
        for rows, block in row_blocks(table, self.block_rows):
            scaled[rows] = scale(self.expand(block))
        return scaled

    def to_json(self) -> dict[str, Any]:
        return {
            "missing": self.missing,
            "columns": [column.to_json() for column in self.columns],
            "features": self.features,
            "means": list(self.means),
            "sds": [sd if np.isfinite(sd) else None for sd in self.sds],
        }

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> "Preprocessing":
        return cls(
            columns=tuple(map(Column.from_json, facts["columns"])),
            means=tuple(facts["means"]),
            sds=tuple(np.inf if sd is None else sd for sd in facts["sds"]),
            missing=facts["missing"],
        )

    def _column_of_features(self) -> Iterator[Column]:
        for column in self.columns:
            yield from [column] * len(column.features)


def chosen_blocks(table: NDArray, chosen: NDArray[np.bool_], step: int) -> Iterator[NDArray]:
    """Yield the chosen rows of `table`, those of `step` rows at a time, in their order."""
    for rows, block in row_blocks(table, step):
        if (kept := chosen[rows]).any():
            yield block[kept]


def _fill(column: Column, values: NDArray) -> Column:
    missing = np.isnan(values)
    known = values[~missing]
    median = 0.0 if column.categories is None else None
    if column.categories is None and len(known):
        median = float(np.median(known))
    return replace(column, median=median, indicator=bool(missing.any()))
