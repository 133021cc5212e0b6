"""figures/local_runs.md: every run in one table, rebuilt wholly from the records."""

from datetime import datetime
from pathlib import Path
from typing import Any

from new_algorithm.record.files import RECORD_FILE, read_record, save_text
from new_algorithm.record.history import ACCURACIES, LOSSES
from new_algorithm.record.layout import Layout
from new_algorithm.record.note import show, table
from new_algorithm.record.reservation import hold_lock, is_held

HEADER = (
    *("tag", "date", "script", "data"),
    *("train loss", "test accuracy", "training CPU s", "status"),
)


def rebuild_index(layout: Layout) -> None:
    """Write the table, newest run first. OSError where it cannot be written."""
    layout.index.parent.mkdir(parents=True, exist_ok=True)
    layout.records.mkdir(parents=True, exist_ok=True)
    with hold_lock(layout.records / ".index.lock", wait=True):
        folders = [path.parent for path in layout.records.glob(f"[!.]*/{RECORD_FILE}")]
        newest_first = sorted((_row(folder, layout) for folder in folders), reverse=True)
        rows = [cells for *_, cells in newest_first]
        save_text(layout.index, f"# Runs, newest first\n\n{table(HEADER, rows)}")


def _row(folder: Path, layout: Layout) -> tuple[float, str, list[str]]:
    """When a run was started, its tag, and the cells of its row."""
    tag, record = folder.name, read_record(folder) or {}
    has_note = (layout.figures(tag) / "README.md").exists()
    cell = f"[{tag}]({tag}/README.md)" if has_note else tag
    try:
        start, status = datetime.fromisoformat(record["start"]), show(record["status"])
        data, metrics = record.get("data", {}), record.get("final_metrics", {})
        if status == "running" and not is_held(layout.lock(tag)):
            status = "killed"
        cells = [
            cell,
            f"{start:%Y-%m-%d %H:%M}",
            show(record.get("script")),
            show(data.get("name")),
            _metric(metrics, LOSSES[:1]),
            _metric(metrics, ACCURACIES[1:]),
            show(metrics.get("train_cpu_seconds")),
            status,
        ]
        return start.timestamp(), tag, cells
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return 0.0, tag, [cell, "", "", "", "", "", "", "unreadable"]


def _metric(metrics: dict[str, Any], names: tuple[str, ...]) -> str:
    for column, value in metrics.items():
        if column.startswith(names):
            return show(value) + (" (validation)" if column.startswith("validation") else "")
    return ""
