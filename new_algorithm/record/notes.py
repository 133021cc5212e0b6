"""figures/<tag>/README.md: what one run did, found and suggests, written from its files."""

import os
from pathlib import Path
from typing import Any

from new_algorithm.record.atomic_files import save_text
from new_algorithm.record.history import METRICS_FILE, TIMING_FILE, Series, read_series
from new_algorithm.record.layout import Layout
from new_algorithm.record.markdown import bullets, show, table
from new_algorithm.record.next_steps import next_steps
from new_algorithm.record.record_json import RECORD_FILE, read_record

RECORD_FILES = (RECORD_FILE, METRICS_FILE, TIMING_FILE)


def write_note(tag: str, layout: Layout) -> None:
    """Write the note from ploting_data/<tag>/; OSError where it cannot be written."""
    folder = layout.figures(tag)
    folder.mkdir(parents=True, exist_ok=True)
    record = read_record(layout.record(tag)) or {}
    text = note_text(tag, record, read_series(layout.record(tag)))
    save_text(folder / "README.md", text + _links(tag, record, layout))


def note_text(tag: str, record: dict[str, Any], series: Series) -> str:
    """The note but for its links; a pure function of run.json and the arrays."""
    return "\n".join(
        [
            f"# {tag}\n",
            _status(record),
            f"    {record.get('command', '')}\n",
            "## Inputs\n",
            table(("input", "value"), _inputs(record)),
            "## Configuration\n",
            table(("flag", "value"), _items(record.get("config"))),
            "## Final metrics\n",
            table(("metric", "value"), _items(record.get("final_metrics"))),
            "## Anomalies\n",
            bullets(record.get("anomalies") or ["None found."]),
            "## Next steps\n",
            bullets(next_steps(series, record) or ["None suggested."]),
        ]
    )


def _status(record: dict[str, Any]) -> str:
    error = f" ({record['error']})" if record.get("error") else ""
    return (
        f"Status: **{record.get('status')}**{error}. "
        f"Started {record.get('start')}, ended {record.get('end')}.\n"
    )


def _inputs(record: dict[str, Any]) -> list[tuple[str, str]]:
    pools = record.get("thread_pools", ())
    return [
        *((f"data: {name}", value) for name, value in _items(record.get("data"))),
        ("seeds", show(record.get("seeds"))),
        ("commit", _commit(record.get("git"))),
        ("machine", show(record.get("host"))),
        ("threads", ", ".join(f"{p['internal_api']} {p['num_threads']}" for p in pools)),
        ("packages", show(record.get("packages"))),
    ]


def _items(values: dict[str, Any] | None) -> list[tuple[str, str]]:
    return [(name, show(value) or "none") for name, value in (values or {}).items()]


def _commit(git: dict[str, Any] | None) -> str:
    if git is None:
        return "unknown"
    return git["commit"] + (" with uncommitted changes" if git["dirty"] else "")


def _links(tag: str, record: dict[str, Any], layout: Layout) -> str:
    folder = layout.figures(tag)
    figures = sorted(folder.glob("[!.]*.png"))
    pictures = "\n".join(f"![{path.stem}]({path.name})" for path in figures)
    files = [layout.record(tag) / name for name in RECORD_FILES]
    files += [path for path in sorted(layout.record(tag).glob("[!.]*.csv")) if path not in files]
    links = [f"[{path.name}]({_relative(path, folder)})" for path in files if path.exists()]
    local = [
        layout.relative(layout.record(tag) / "weights.npz"),
        record.get("log"),
    ]  # not published
    links += [f"`{path}`" for path in local if path and (layout.root / path).exists()]
    none = "None: no epoch was recorded."
    if layout.group:
        none = f"`python new_algorithm/plot_runs.py {layout.group}/{tag}` draws them."
    return f"\n## Figures\n\n{pictures or none}\n\n## Record\n\n{bullets(links)}"


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()
