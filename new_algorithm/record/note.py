"""figures/<tag>/README.md: what one run did, found and suggests, written from its files.

It begins with ten lines that a person wants; the full configuration stands at the end.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from new_algorithm.plots.series import Series
from new_algorithm.record.advice.advise import advise
from new_algorithm.record.advice.finding import Finding
from new_algorithm.record.files import RECORD_FILE, read_record, save_text
from new_algorithm.record.history import METRICS_FILE, TIMING_FILE, read_series
from new_algorithm.record.layout import Layout
from new_algorithm.record.summary import summary
from new_algorithm.record.weights import BEST_FILE, WEIGHTS_FILE


def write_note(tag: str, layout: Layout) -> Path:
    """Write the note from ploting_data/<tag>/ and return it; OSError where it cannot be written."""
    folder = layout.figures(tag)
    folder.mkdir(parents=True, exist_ok=True)
    record = read_record(layout.record(tag)) or {}
    series = read_series(layout.record(tag))
    found = advise(record, series)
    known_as = f"{layout.group}/{tag}" if layout.group else tag
    has_weights = (layout.record(tag) / WEIGHTS_FILE).exists()
    parts = (
        f"# {tag}\n\n{bullets(summary(known_as, record, found, has_weights))}",
        _links(tag, record, layout),
        findings_text(found, series),
        configuration_text(record),
    )
    save_text(folder / "README.md", "".join(parts))
    return folder / "README.md"


def configuration_text(record: dict[str, Any]) -> str:
    """The last sections: all that run.json holds. A pure function."""
    return "\n".join(
        [
            "\n## Anomalies\n",
            bullets(record.get("anomalies") or ["None met."]),
            "## Final metrics\n",
            table(("metric", "value"), _items(record.get("final_metrics"))),
            "## Inputs\n",
            table(("input", "value"), _inputs(record)),
            "## Configuration\n",
            table(("flag", "value"), _items(record.get("config"))),
        ]
    )


def _inputs(record: dict[str, Any]) -> list[tuple[str, str]]:
    pools, git = record.get("thread_pools", ()), record.get("git")
    changed = " with uncommitted changes" if git and git["dirty"] else ""
    return [
        *((f"data: {name}", value) for name, value in _items(_told(record.get("data") or {}))),
        ("seeds", show(record.get("seeds"))),
        ("commit", git["commit"] + changed if git else "unknown"),
        ("machine", show(record.get("host"))),
        ("threads", ", ".join(f"{p['internal_api']} {p['num_threads']}" for p in pools)),
        ("packages", show(record.get("packages"))),
    ]


def _told(data: dict[str, Any]) -> dict[str, Any]:
    """Of a preprocessing, which has constants of every feature, how many those are."""
    if "preprocessing" not in data:
        return data
    facts = data["preprocessing"]
    of = f"{len(facts['features'])} features of {len(facts['columns'])} columns, in {RECORD_FILE}"
    return data | {"preprocessing": of}


def _items(values: dict[str, Any] | None) -> list[tuple[str, str]]:
    return [(name, show(value) or "none") for name, value in (values or {}).items()]


def _links(tag: str, record: dict[str, Any], layout: Layout) -> str:
    folder, place = layout.figures(tag), layout.record(tag)
    pictures = "\n".join(f"![{p.stem}]({p.name})" for p in sorted(folder.glob("[!.]*.png")))
    tables = (path.name for path in sorted(place.glob("[!.]*.csv")))
    names = dict.fromkeys((RECORD_FILE, METRICS_FILE, TIMING_FILE, *tables))
    there = Path(os.path.relpath(place, folder)).as_posix()
    links = [f"[{name}]({there}/{name})" for name in names if (place / name).exists()]
    weights = (layout.relative(place / name) for name in (WEIGHTS_FILE, BEST_FILE))
    local = *weights, record.get("log")  # unpublished
    links += [f"`{path}`" for path in local if path and (layout.root / path).exists()]
    none = "None: no epoch was recorded."
    if layout.group:
        none = f"`python new_algorithm/plot_runs.py {layout.group}/{tag}` draws them."
    return f"\n## Figures\n\n{pictures or none}\n\n## Record\n\n{bullets(links)}"


def findings_text(found: Sequence[Finding], series: Series) -> str:
    """Warnings, or that there are none, then hints."""
    warned = any(one.severity == "warning" for one in found)
    none = "Nothing stands out." if series else "There are no arrays of epochs to judge."
    told = [one.sentence for one in found]
    return f"\n## Findings\n\n{bullets(told if warned else [none, *told])}"


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
