"""The numbers of a run, one row an epoch, as arrays and as comma-separated columns."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from new_algorithm.cli.errors import UserError
from new_algorithm.plots.series import Series
from new_algorithm.record.files import Row, save_npy, save_text

METRICS_FILE = "metrics_log.csv"
TIMING_FILE = "timing_log.csv"
TIMES = ("train_cpu_seconds", "train_wall_seconds")
LOSSES = ("train_loss", "test_loss", "validation_loss")
ACCURACIES = ("train_accuracy", "test_accuracy", "validation_accuracy")


@dataclass
class History:
    """Rows of named numbers, or lists of one a layer, in `folder` as a .npy a name and two .csv.

    Times go to a .csv of their own, so that the other repeats byte for byte under one seed.
    Each row is appended to the .csv files as it comes; the arrays are written anew each time
    the rows have grown by a tenth, so that all writing stays linear in the rows, and at the end.
    """

    folder: Path
    loss_unit: str | None
    rows: list[Row] = field(default_factory=list)
    _rows_in_arrays: int = 0

    def append(self, row: Row) -> None:
        """Add one epoch and write it. ValueError if its names or layers differ."""
        if self.rows and _shape(row) != _shape(self.rows[0]):
            raise ValueError(
                f"this epoch records {_shape(row)}, the first one {_shape(self.rows[0])}"
            )
        self.rows.append(row)
        for name, lines in self._csv_files(self.rows[-1:]).items():
            with (self.folder / name).open("a", encoding="utf-8") as file:
                file.write(lines)
        if len(self.rows) >= 1.1 * self._rows_in_arrays:
            self._save_arrays(durable=False)

    def restore(self, rows: list[Row]) -> None:
        """Go on after these epochs: files that hold more are written anew."""
        self.rows = rows
        self.save()
        if not rows:
            for path in (*self.folder.glob("*.npy"), *self.folder.glob("*_log.csv")):
                path.unlink()

    def save(self) -> None:
        """Write every file anew, each atomically and safe from a power cut."""
        if not self.rows:
            return
        self._save_arrays(durable=True)
        for name, lines in self._csv_files(self.rows).items():
            save_text(self.folder / name, lines)

    def _save_arrays(self, durable: bool) -> None:
        for name in self.rows[0]:
            array = np.array([row[name] for row in self.rows])
            save_npy(self.folder / f"{name}.npy", array, durable)
        self._rows_in_arrays = len(self.rows)

    @property
    def epochs(self) -> int:
        return len(self.rows)

    def row_of(self, epoch: int | None) -> Row | None:
        """The row of a recorded epoch, which follow each other; None for None."""
        return None if epoch is None else self.rows[epoch - self.rows[0]["epoch"]]

    def columns(self) -> list[Row]:
        """The columns of every epoch, times included."""
        return [columns(row, self.loss_unit) for row in self.rows]

    def last(self) -> Row:
        """The columns of the last epoch, times included."""
        return columns(self.rows[-1], self.loss_unit) if self.rows else {}

    def _csv_files(self, rows: list[Row]) -> dict[str, str]:
        """The lines of each .csv file for `rows`, with the header if they begin with the first."""
        table = [columns(row, self.loss_unit) for row in rows]
        metrics = [name for name in table[0] if name not in TIMES]
        files = {}
        for file, names in {METRICS_FILE: metrics, TIMING_FILE: ["epoch", *TIMES]}.items():
            lines = [",".join(repr(row[name]) for name in names) for row in table]
            header = [",".join(names)] if rows[0] is self.rows[0] else []
            files[file] = "".join(f"{line}\n" for line in header + lines)
        return files


def columns(row: Row, loss_unit: str | None) -> Row:
    """`row` with one entry a column, units in the names."""
    flat: Row = {}
    for name, value in row.items():
        if isinstance(value, list):
            suffix = "weight_norm" if name == "layer_norms" else name
            flat |= {f"layer_{layer}_{suffix}": v for layer, v in enumerate(value, start=1)}
        elif name in LOSSES and loss_unit:
            flat[f"{name}_{loss_unit}"] = value
        elif name in ACCURACIES:
            flat[f"{name}_fraction"] = value
        else:
            flat[name] = value
    return flat


def read_series(folder: Path) -> Series:
    """The arrays of a run from its files alone, cut to the epochs that all of them hold.

    Empty where no epoch is recorded. UserError for a file that is not a sound array.
    """
    series = {path.stem: _load(path) for path in sorted(folder.glob("[!.]*.npy"))}
    epochs = min((len(values) for values in series.values()), default=0)
    if not epochs or "epoch" not in series:
        return {}
    return {name: values[:epochs] for name, values in series.items()}


def plain_row(values: dict[str, Any]) -> Row:
    """`values` as plain ints and floats, whose repr is the shortest that reads back the same."""
    return {name: np.asarray(value).tolist() for name, value in values.items()}


def _load(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
        if array.ndim not in (1, 2) or array.dtype.kind not in "biuf":
            raise ValueError(f"it has {array.ndim} dimensions of type {array.dtype}")
    except Exception as error:  # NumPy raises whatever the damaged bytes lead it to
        raise UserError(
            f"{path.parent.name}/{path.name} is not a sound array ({error}): repeat the run"
        ) from error
    return array


def _shape(row: Row) -> dict[str, int]:
    return {name: np.size(value) for name, value in row.items()}


def epoch_line(row: Row, held: str) -> str:
    """Return the line that is printed after an epoch."""
    short = "val" if held == "validation" else held
    names = ("accuracy", "auc", "squared_error")
    accuracy, auc, squared_error = (row.get(f"{held}_{name}") for name in names)
    fields = [f"loss={row['train_loss']:.4g}"]
    if accuracy is not None:
        fields.append(f"{short}_acc={accuracy:.4f}")
    if auc is not None:
        fields.append(f"{short}_auc={auc:.4f}")
    if squared_error is not None:
        fields.append(f"{short}_squared_error={squared_error:.4g}")
    fields.append(f"{short}_loss={row[f'{held}_loss']:.4g}")
    fields.append(f"train_cpu={row['train_cpu_seconds']:.2f} s")
    return f"Epoch {row['epoch']}: {', '.join(fields)}"
