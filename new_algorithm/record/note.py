"""figures/<tag>/README.md: what one run did, found and suggests, written from its files."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from new_algorithm.plots.series import Series, held_out_name
from new_algorithm.record.anomalies import first_non_finite, largest_rise, overfitting
from new_algorithm.record.files import RECORD_FILE, read_record, save_text
from new_algorithm.record.history import METRICS_FILE, TIMING_FILE, read_series
from new_algorithm.record.layout import Layout

STILL_FALLING = 0.05  # part of the train loss, in the last epoch


def write_note(tag: str, layout: Layout) -> None:
    """Write the note from ploting_data/<tag>/; OSError where it cannot be written."""
    folder = layout.figures(tag)
    folder.mkdir(parents=True, exist_ok=True)
    record = read_record(layout.record(tag)) or {}
    text = note_text(tag, record, read_series(layout.record(tag)))
    save_text(folder / "README.md", text + _links(tag, record, layout))


def note_text(tag: str, record: dict[str, Any], series: Series) -> str:
    """The note but for its links; a pure function of run.json and the arrays."""
    error = f" ({record['error']})" if record.get("error") else ""
    times = f"Started {record.get('start')}, ended {record.get('end')}."
    return "\n".join(
        [
            f"# {tag}\n",
            f"Status: **{record.get('status')}**{error}. {times}\n",
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


def _inputs(record: dict[str, Any]) -> list[tuple[str, str]]:
    pools, git = record.get("thread_pools", ()), record.get("git")
    changed = " with uncommitted changes" if git and git["dirty"] else ""
    return [
        *((f"data: {name}", value) for name, value in _items(record.get("data"))),
        ("seeds", show(record.get("seeds"))),
        ("commit", git["commit"] + changed if git else "unknown"),
        ("machine", show(record.get("host"))),
        ("threads", ", ".join(f"{p['internal_api']} {p['num_threads']}" for p in pools)),
        ("packages", show(record.get("packages"))),
    ]


def _items(values: dict[str, Any] | None) -> list[tuple[str, str]]:
    return [(name, show(value) or "none") for name, value in (values or {}).items()]


def _links(tag: str, record: dict[str, Any], layout: Layout) -> str:
    folder, place = layout.figures(tag), layout.record(tag)
    pictures = "\n".join(f"![{p.stem}]({p.name})" for p in sorted(folder.glob("[!.]*.png")))
    tables = (path.name for path in sorted(place.glob("[!.]*.csv")))
    names = dict.fromkeys((RECORD_FILE, METRICS_FILE, TIMING_FILE, *tables))
    there = Path(os.path.relpath(place, folder)).as_posix()
    links = [f"[{name}]({there}/{name})" for name in names if (place / name).exists()]
    local = layout.relative(place / "weights.npz"), record.get("log")  # unpublished
    links += [f"`{path}`" for path in local if path and (layout.root / path).exists()]
    none = "None: no epoch was recorded."
    if layout.group:
        none = f"`python new_algorithm/plot_runs.py {layout.group}/{tag}` draws them."
    return f"\n## Figures\n\n{pictures or none}\n\n## Record\n\n{bullets(links)}"


def next_steps(series: Series, record: dict[str, Any]) -> list[str]:
    """Sentences, the most urgent first; a pure function of the arrays and run.json."""
    status, steps = record.get("status"), []
    if status == "failed":
        steps.append("Read the error in the log, mend it, and run again with `--overwrite`.")
    if status == "interrupted":
        steps.append("The run was stopped early: its numbers end before the last epoch asked for.")
    unsound = first_non_finite(series) if series else None
    remedy = "take smaller steps or a larger damping."
    if unsound is not None:
        steps.append(f"Values stopped being finite at epoch {unsound}: {remedy}")
    elif status == "diverged" or (series and largest_rise(series)):
        steps.append(f"Training was unstable: {remedy}")
    if series and unsound is None:
        loss = series["train_loss"]
        drop = 1 - loss[-1] / loss[-2] if len(loss) > 1 and loss[-2] > 0 else 0.0
        if (rise := overfitting(series)) is not None:
            steps.append(
                f"{held_out_name(series).capitalize()} loss was lowest at epoch {rise.start}: stop "
                "there or damp the input layer more."
            )
        elif drop > STILL_FALLING:
            steps.append(f"Train loss fell {drop:.0%} in the last epoch: try more epochs.")
    if series and held_out_name(series) == "validation":
        steps.append("Once the settings are chosen, evaluate them once with `--held-out test`.")
    if (record.get("git") or {}).get("dirty"):
        steps.append("Files differed from the commit: commit and repeat before citing the numbers.")
    if status == "completed":
        steps.append("One seed says nothing about spread: repeat with other values of `--seed`.")
    return steps


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, one line a row; bars and line ends inside cells are made harmless."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def bullets(items: Iterable[str]) -> str:
    return "".join(f"- {item}\n" for item in items)


def show(value: Any) -> str:
    """`value` for a reader: floats to 5 digits, nested values as `key=value`, None as nothing."""
    if isinstance(value, dict):
        return ", ".join(f"{key}={show(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(show, value))
    if isinstance(value, float):
        return f"{value:.5g}"
    return "" if value is None else str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
