"""run.json: what ran, on what, and how it ended, as strict JSON."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from new_algorithm.lab.atomic_files import save_text

RECORD_FILE = "run.json"


def save_record(folder: Path, record: dict[str, Any], durable: bool = True) -> None:
    """Write `record` atomically; inf and nan, which JSON lacks, become the strings of that name."""
    text = json.dumps(plain(record), indent=2, allow_nan=False, ensure_ascii=False)
    save_text(folder / RECORD_FILE, text + "\n", durable)


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a run, or None where there is none that can be read."""
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


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
