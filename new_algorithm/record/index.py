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
        records = [(folder, read_record(folder)) for folder in folders]
        records.sort(key=lambda pair: (_start(pair[1]), pair[0].name), reverse=True)
        rows = [_row(folder, record, layout) for folder, record in records]
        save_text(layout.index, f"# Runs, newest first\n\n{table(HEADER, rows)}")


def _row(folder: Path, record: dict[str, Any] | None, layout: Layout) -> list[str]:
    has_note = (layout.figures(folder.name) / "README.md").exists()
    tag = f"[{folder.name}]({folder.name}/README.md)" if has_note else folder.name
    if record is None:
        return [tag, "", "", "", "", "", "", "unreadable"]
    metrics = _dict(record.get("final_metrics"))
    return [
        tag,
        show(record.get("start"))[:16].replace("T", " "),
        show(record.get("script")),
        show(_dict(record.get("data")).get("name")),
        _metric(metrics, LOSSES[:1]),
        _metric(metrics, ACCURACIES[1:]),
        show(metrics.get("train_cpu_seconds")),
        _status(folder, record, layout),
    ]


def _metric(metrics: dict[str, Any], names: tuple[str, ...]) -> str:
    for column, value in metrics.items():
        if column.startswith(names):
            return show(value) + (" (validation)" if column.startswith("validation") else "")
    return ""


def _status(folder: Path, record: dict[str, Any], layout: Layout) -> str:
    status = show(record.get("status"))
    killed = status == "running" and not is_held(layout.lock(folder.name))
    return "killed" if killed else status


def _start(record: dict[str, Any] | None) -> float:
    try:
        return datetime.fromisoformat((record or {})["start"]).timestamp()
    except (TypeError, KeyError, ValueError, OverflowError):
        return 0.0


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
