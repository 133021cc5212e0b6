"""The page of an analysis, and its twin in Markdown: from the record of the analysis alone."""

import base64
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from new_algorithm.analysis import PARTS_FILE
from new_algorithm.analysis.parts import PARTS
from new_algorithm.plots.style import HOUSE_STYLE
from new_algorithm.record.files import read_csv, read_json, save_text
from new_algorithm.record.layout import Layout
from new_algorithm.record.pages import Table, page_templates

TEMPLATES = Path(__file__).parent / "templates"
PAGES = {"analysis.html": "report.html", "analysis.md": "README.md"}  # template: file
MOST_ROWS = 40  # of a table on the page; the file has all
DOTS_PER_PIXEL = float(HOUSE_STYLE["savefig.dpi"]) / 96  # a page has 96 pixels an inch


def write_page(tag: str, layout: Layout) -> list[Path]:
    """Write figures/<tag>/report.html and README.md from ploting_data/<tag>/; return them."""
    folder, figures = layout.record(tag), layout.figures(tag)
    facts = read_json(folder / PARTS_FILE) or {"parts": {}}
    record = read_json(folder / "run.json") or {}
    parts = [facts["parts"][name] for name in PARTS if name in facts["parts"]]
    content: dict[str, Any] = {
        "tag": tag,
        "of": facts.get("of", ""),
        "about": facts.get("about", ""),
        "record": record,
        "status": _status(record, parts),
        "sections": [_section(part, folder, figures) for part in parts],
    }
    templates = page_templates(TEMPLATES)
    for template, name in PAGES.items():
        save_text(figures / name, templates.get_template(template).render(content))
    return [figures / name for name in PAGES.values()]


def _status(record: dict[str, Any], parts: Sequence[dict[str, Any]]) -> list[str]:
    """How the analysis ended: the last call, all parts that are there, and what went wrong."""
    error = f" ({record['error']})" if record.get("error") else ""
    times = f"started {record.get('start')}, ended {record.get('end')}"
    failed = [part["name"] for part in parts if part.get("failed")]
    whole = [part["name"] for part in parts if not part.get("failed")]
    return [
        f"Status: {record.get('status')}{error}; {times}.",
        f"Parts that are complete: {', '.join(whole) or 'none'}; "
        f"that failed: {', '.join(failed) or 'none'}.",
        *(f"Anomaly: {text}" for text in record.get("anomalies") or ()),
    ]


def _section(part: dict[str, Any], folder: Path, figures: Path) -> dict[str, Any]:
    """What the templates need of a part: its words, its tables, and those of its pictures that are
    there."""
    tables = [
        {"title": one["title"], "table": _table(one["name"], rows)}
        for one in part["tables"]
        if one["shown"] and (rows := read_csv(folder / f"{one['name']}.csv"))
    ]
    pictures = [
        _picture(figures / f"{name}.png", caption)
        for name, caption in part["captions"].items()
        if (figures / f"{name}.png").exists()
    ]
    return {**part, "tables": tables, "pictures": pictures}


def _table(name: str, rows: list[dict[str, str]]) -> Table:
    """A recorded table with numbers to four digits; of a long one the last epoch, or the start."""
    if len(rows) > MOST_ROWS and "epoch" in rows[0]:
        rows = [row for row in rows if row["epoch"] == rows[-1]["epoch"]]
    left_out = len(rows) - MOST_ROWS
    notes = [f"{left_out} more rows are in {name}.csv."] if left_out > 0 else []
    shown = [[_shown(cell) for cell in row.values()] for row in rows[:MOST_ROWS]]
    words = 1
    while words < len(rows[0]) and any(_is_word(list(row.values())[words]) for row in rows):
        words += 1
    return Table([_heading(column) for column in rows[0]], shown, words, notes)


def _heading(column: str) -> str:
    """A column's name in words; symbols such as λ_h keep their index."""
    return re.sub(r"(?<=[a-z0-9])_", " ", column)


def _picture(path: Path, caption: str) -> dict[str, Any]:
    content = path.read_bytes()
    dots = int.from_bytes(content[16:20], "big")  # the width, which every PNG has there
    return {
        "name": path.stem,
        "caption": caption,
        "bytes": base64.b64encode(content).decode(),
        "width": round(dots / DOTS_PER_PIXEL),
    }


def _is_word(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return True
    return False


def _shown(cell: str) -> str:
    """A number of a table to four digits, with a true minus sign; a dash for none."""
    if _is_word(cell):
        return cell
    number = float(cell)
    if math.isnan(number):
        return "–"
    whole = number.is_integer() and abs(number) < 1e6
    return (f"{number:.0f}" if whole else f"{number:.4g}").replace("-", "−")
