"""Files written whole or not at all: arrays, text, JSON and CSV.

Each is written under another name, forced to the disk, and renamed.
"""

import csv
import io
import json
import math
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from new_algorithm.cli.endings import FULL

RECORD_FILE = "run.json"

Row = dict[str, Any]  # of a table: texts and numbers by name


@contextmanager
def replace_atomically(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """Yield a temporary binary file that becomes `path` on success and vanishes on failure.

    Unless `durable`, it is not forced to the disk: it then survives a killed process, but not
    a power cut. That saves milliseconds a file, for files that are written again and again.

    The temporary file lies in the same folder, because a rename is atomic within one file
    system only. OSError (full disk, read-only folder) leaves the previous `path` intact.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in FULL and error.filename is None:
            error.filename = str(path)  # a write that fails does not say of which file
        raise


def remove_unfinished(folder: Path) -> None:
    """Delete what killed processes have left of files that they were writing; no other may write
    there now."""
    for path in folder.rglob(".*"):
        if re.fullmatch(r"\..+\.[0-9a-f]{8}", path.name) and path.is_file():
            path.unlink()


def save_npz(path: Path, **arrays: np.ndarray) -> None:
    """Write `arrays` as a compressed .npz, atomically."""
    with replace_atomically(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # no array bears an option's name


def save_npy(path: Path, array: np.ndarray, durable: bool = True) -> None:
    """Write one array as .npy, atomically."""
    with replace_atomically(path, durable) as file:
        np.save(file, array, allow_pickle=False)


def save_text(path: Path, text: str, durable: bool = True) -> None:
    """Write `text` as UTF-8, atomically; what has no place in that, as of names of files in other
    encodings, as an escape, which JSON reads back."""
    with replace_atomically(path, durable) as file:
        file.write(text.encode(errors="backslashreplace"))


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a run, or None where there is none that can be read."""
    return read_json(folder / RECORD_FILE)


def save_json(path: Path, facts: dict[str, Any], durable: bool = True) -> None:
    """Write `facts` atomically; inf and nan, which JSON lacks, become the strings of that name."""
    text = json.dumps(plain(facts), indent=2, allow_nan=False, ensure_ascii=False)
    save_text(path, text + "\n", durable)


def read_json(path: Path) -> dict[str, Any] | None:
    """What `save_json` wrote, or None where there is nothing that can be read."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return facts if isinstance(facts, dict) else None


def plain(value: Any) -> Any:
    """`value` in JSON's types: tuples and arrays as lists, anything unknown as its string."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def format_table(rows: Sequence[Row]) -> str:
    """Right-aligned columns under their names, floats to four digits."""
    cells = [[name.replace("_", " ") for name in rows[0]]]
    cells += [
        [f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()]
        for row in rows
    ]
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
