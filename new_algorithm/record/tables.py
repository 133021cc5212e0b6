"""Rows of named numbers, as columns for the eye and as a .csv for the record."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from new_algorithm.record.atomic_files import save_text

Row = dict[str, str | int | float]


def format_table(rows: Sequence[Row]) -> str:
    """Right-aligned columns under their names, floats to four digits."""
    cells = [[name.replace("_", " ") for name in rows[0]]]
    cells += [[_show(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in cells
    )


def save_csv(path: Path, rows: Sequence[Row]) -> None:
    """One line a row, numbers with the shortest digits that read back the same; atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")  # floats as repr writes them
    writer.writeheader()
    writer.writerows(rows)
    save_text(path, text.getvalue())


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows that `save_csv` wrote, every value as text."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _show(value: str | int | float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
