"""run.json: what ran, on what, and how it ended, as strict JSON."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from new_algorithm.record.atomic_files import save_text

RECORD_FILE = "run.json"


def save_record(folder: Path, record: dict[str, Any], durable: bool = True) -> None:
    """Write the record of a run."""
    save_json(folder / RECORD_FILE, record, durable)


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
    except (OSError, ValueError):
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
