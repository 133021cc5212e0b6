"""All parts of an analysis, in the order in which a reader wants them."""

from collections.abc import Iterable, Sequence

from new_algorithm.analysis import (
    capacity,
    curvature,
    errors,
    fisher,
    flow,
    landscape,
    representations,
)
from new_algorithm.analysis.findings import Part
from new_algorithm.cli.errors import UserError
from new_algorithm.record.figures import Tables

PARTS: dict[str, Part] = {
    one.name: one
    for one in (
        errors.PART,
        representations.PART,
        flow.PART,
        landscape.PART,
        curvature.PART,
        fisher.PART,
        capacity.PART,
    )
}


def chosen_parts(names: Sequence[str]) -> list[Part]:
    """Return the parts of these names, all of none. UserError for a name that is unknown."""
    for name in names:
        if name not in PARTS:
            raise UserError(f"--parts {name}: give some of {', '.join(PARTS)}")
    return [part for name, part in PARTS.items() if not names or name in names]


def tables_of(parts: Iterable[Part]) -> Tables:
    """Return what draws the tables and arrays of these parts, by file name."""
    return {file: draw for part in parts for file, draw in part.figures.items()}
