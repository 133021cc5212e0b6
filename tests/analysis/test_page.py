"""The page and its twin, from an invented record of an analysis."""

import re

import pytest

from new_algorithm.analysis import PARTS_FILE
from new_algorithm.analysis.page import write_page
from new_algorithm.plots.style import draw
from new_algorithm.record.files import RECORD_FILE, save_csv, save_json
from new_algorithm.record.layout import Layout

CAPTION = "Rows of each class & their names."


def part(name, **changes):
    empty = {"failed": False, "sentences": [], "tables": [], "arrays": [], "captions": {}}
    return {"name": name, "title": name.capitalize(), **empty, **changes}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The page and its twin of one whole part and one that failed."""
    layout = Layout(tmp_path_factory.mktemp("analysis"))
    folder, figures = layout.record("run.analysis"), layout.figures("run.analysis")
    folder.mkdir(parents=True)
    figures.mkdir(parents=True)
    anomaly = "flow: ValueError: NaN"
    times = {"start": "2026-01-02T03:04:05", "end": "2026-01-02T03:05:00"}
    record = {"status": "completed", "command": "python a.py run", "anomalies": [anomaly]}
    save_json(folder / RECORD_FILE, record | times)
    asked = [
        {"epoch": epoch, "module": name, "dead_units": 3, "λ_h = 0.1": -0.123456, "rank": "nan"}
        for epoch in (1, 2)
        for name in ("0", "body", *range(2, 24))
    ]
    save_csv(folder / "asked.csv", asked)
    save_csv(folder / "rows.csv", [{"row": i, "value": 0.5} for i in range(50)])
    (figures / "confusion.png").write_bytes(draw(lambda figure: None, (4.0, 3.0)))
    tables = [
        {"name": "asked", "title": "What is asked for", "shown": True},
        {"name": "rows", "title": "Rows", "shown": True},
    ]
    captions = {"confusion": CAPTION, "absent": "Not drawn."}
    whole = part("errors", sentences=["3 of 9."], tables=tables, captions=captions)
    failed = part("flow", failed=True, sentences=["This part failed: ValueError: NaN."])
    parts = {"of": "run", "start": "", "parts": {"flow": failed, "errors": whole}}
    save_json(folder / PARTS_FILE, parts)
    paths = write_page("run.analysis", layout)
    return [path.read_text(encoding="utf-8") for path in paths]


def test_both_say_how_the_analysis_ended(pages):
    for page in pages:
        assert "Status: completed; started 2026-01-02T03:04:05" in page
        assert "Parts that are complete: errors; that failed: flow." in page
        assert "Anomaly: flow: ValueError: NaN" in page


def test_a_caption_is_printed_once_and_a_picture_keeps_its_inches(pages):
    page, twin = pages
    assert twin.count(CAPTION) == 1
    assert "![confusion](confusion.png)" in twin
    assert page.count("<figcaption>Rows of each class &amp; their names.</figcaption>") == 1
    assert "Not drawn." not in page + twin
    (width,) = re.findall(r'<img [^>]*width="(\d+)"', page)
    assert int(width) == 4 * 96


def test_heads_are_words_and_symbols_keep_their_index(pages):
    page, twin = pages
    assert "| epoch | module | dead units | λ_h = 0.1 | rank |" in twin
    assert '<th>module</th><th class="number">dead units</th>' in page


def test_of_a_long_table_the_last_epoch_is_shown_and_the_rest_is_counted(pages):
    page, twin = pages
    assert "| 2 | body | 3 | −0.1235 | – |" in twin
    assert "| 1 | body |" not in twin
    for text in pages:
        assert "10 more rows are in rows.csv." in text
    assert page.count("<tr>") == 1 + 24 + 1 + 40


def test_parts_are_in_the_order_of_a_reader(pages):
    page, _ = pages
    assert page.index('<section id="errors">') < page.index('<section id="flow">')
