"""The page of an analysis, and its twin in Markdown: from the record of the analysis alone."""

import base64
import math
from pathlib import Path
from typing import Any

from new_algorithm.analysis import PARTS_FILE
from new_algorithm.analysis.parts import PARTS
from new_algorithm.record.files import read_csv, read_json, save_text
from new_algorithm.record.layout import Layout
from new_algorithm.record.note import table
from new_algorithm.record.pages import page_templates

TEMPLATES = Path(__file__).parent / "templates"
PAGES = {"analysis.html": "report.html", "analysis.md": "README.md"}  # template: file
MOST_ROWS = 40  # of a table on the page; the file has all


def write_page(tag: str, layout: Layout) -> list[Path]:
    """Write figures/<tag>/report.html and README.md from ploting_data/<tag>/; return them."""
    folder, figures = layout.record(tag), layout.figures(tag)
    facts = read_json(folder / PARTS_FILE) or {"parts": {}}
    record = read_json(folder / "run.json") or {}
    content: dict[str, Any] = {
        "tag": tag,
        "of": facts.get("of", ""),
        "record": record,
        "sections": [
            _section(facts["parts"][name], folder, figures)
            for name in PARTS
            if name in facts["parts"]
        ],
    }
    templates = page_templates(TEMPLATES)
    templates.globals["markdown_table"] = table
    for template, name in PAGES.items():
        save_text(figures / name, templates.get_template(template).render(content))
    return [figures / name for name in PAGES.values()]


def _section(part: dict[str, Any], folder: Path, figures: Path) -> dict[str, Any]:
    """What the templates need of a part: its words, its tables with numbers to four digits, and
    those of its pictures that are there."""
    tables = []
    for one in part["tables"]:
        rows = read_csv(folder / f"{one['name']}.csv")
        if rows and one["shown"]:
            if len(rows) > MOST_ROWS and "epoch" in rows[0]:  # the last one is what matters
                rows = [row for row in rows if row["epoch"] == rows[-1]["epoch"]]
            header = [name.replace("_", " ") for name in rows[0]]
            shown = [[_shown(cell) for cell in row.values()] for row in rows[:MOST_ROWS]]
            left_out = max(0, len(rows) - MOST_ROWS)
            tables.append({**one, "header": header, "rows": shown, "left_out": left_out})
    pictures = [
        {"file": f"{name}.png", "caption": caption, "bytes": _inline(figures / f"{name}.png")}
        for name, caption in part["captions"].items()
        if (figures / f"{name}.png").exists()
    ]
    return {**part, "tables": tables, "pictures": pictures}


def _inline(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _shown(cell: str) -> str:
    """A number of a table to four digits, with a true minus sign; a dash for none."""
    try:
        number = float(cell)
    except ValueError:
        return cell
    if math.isnan(number):
        return "–"
    whole = number.is_integer() and abs(number) < 1e6
    return (f"{number:.0f}" if whole else f"{number:.4g}").replace("-", "−")
