"""The report: its numbers, its sentences, its files."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from new_algorithm.cli.errors import UserError
from new_algorithm.experiments import report
from new_algorithm.experiments.report import write_report
from new_algorithm.record.files import read_csv, save_csv
from new_algorithm.record.layout import Layout
from tests.experiments.invented_record import (
    EXPERIMENT,
    HIGGS,
    METHODS,
    MNIST,
    TAG,
    ablation,
    write_record,
)

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Elements, which must be closed in order, with their attributes; and the cells of tables."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.rows = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += text


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The runs, the files of the report, the page and its Markdown twin."""
    layout = Layout(tmp_path_factory.mktemp("report"))
    runs = write_record(layout)
    paths = write_report(TAG, layout)
    page = (layout.figures(TAG) / "report.html").read_text(encoding="utf-8")
    return runs, paths, page, (layout.figures(TAG) / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def without_figures(monkeypatch):
    """Drawing takes most of the time."""
    monkeypatch.setattr(report, "draw_task", lambda *_: [])


def rewritten(layout, name="README.md"):
    """Write the report and return its page or its twin."""
    write_report(TAG, layout)
    return (layout.figures(TAG) / name).read_text(encoding="utf-8")


def numbers(text):
    return [float(n) for n in re.findall(r"[-+]?\d+\.\d+", text.replace("−", "-"))]


def values(runs, task, variation, column):
    return np.array(
        [row[column] for row in runs if (row["task"], row["variation"]) == (task.name, variation)]
    )


def row_of(page, variation, task=MNIST):
    """The cells of a method's row in the leaderboard of `task`, by column."""
    rows = Page(page).rows
    header = [row for row in rows if row and row[0] in ("method", "part") and "sd" in row][
        EXPERIMENT.tasks.index(task)
    ]
    start = next(at for at, row in enumerate(rows) if row is header)
    row = next(row for row in rows[start + 1 :] if row[0] == variation)
    return dict(zip(header, row, strict=True))


@pytest.mark.parametrize("variation", [name for name in METHODS if name != "back projection"])
def test_numbers_are_those_of_the_runs(written, variation):
    runs, _, page, _ = written
    own, baseline = (
        values(runs, MNIST, name, "test_accuracy") for name in (variation, "back projection")
    )
    cells = row_of(page, variation)
    for cell, sample in (
        (cells["test accuracy"], own),
        (cells["difference from back projection"], own - baseline),
    ):
        half = stats.t.ppf(0.975, 9) * sample.std(ddof=1) / np.sqrt(10)
        expected = [sample.mean(), sample.mean() - half, sample.mean() + half]
        np.testing.assert_allclose(numbers(cell), expected, atol=5.1e-5)
    differences = own - baseline
    d = differences.mean() / differences.std(ddof=1)
    np.testing.assert_allclose(numbers(cells["d"]), d, atol=0.0051)
    for name, column in (("train loss", "train_loss"), ("CPU s", "train_cpu_seconds")):
        np.testing.assert_allclose(
            numbers(cells[name]), values(runs, MNIST, variation, column).mean(), rtol=5.1e-3
        )


def test_what_is_only_supposed_is_called_so(written):
    _, _, page, markdown = written
    assert "\nHypothesis: At equal CPU time back projection" in markdown
    assert '<p class="hypothesis">Hypothesis: At equal CPU time' in page


def test_diverged_runs_are_counted(written):
    _, _, page, markdown = written
    assert row_of(page, "L-BFGS")["diverged"] == "3/10"
    assert row_of(page, "L-BFGS", HIGGS)["diverged"] == "0/10"
    assert row_of(page, "L-BFGS")["epochs"] == "2–40"
    assert "120 runs, 3 of which diverged" in markdown


def test_the_page_needs_nothing_else(written):
    _, _, page, _ = written
    elements = Page(page).elements
    assert not {"script", "link", "iframe", "object", "img"} & {tag for tag, _ in elements}
    for _, attributes in elements:
        for name in ("src", "href", "xlink:href", "data"):
            assert (attributes.get(name) or "#").startswith("#")
    assert "@import" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))


def test_identifiers_are_unique_and_found(written):
    _, _, page, _ = written
    ids = [attributes["id"] for _, attributes in Page(page).elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = re.findall(r'(?:href="|url\()#([^")]*)', page)
    assert used
    assert set(used) <= set(ids)


def test_text_of_the_record_is_escaped(written):
    _, _, page, _ = written
    assert "Adam &amp; &lt;others&gt;" in page
    assert "HIGGS &lt;sample&gt;" in page
    assert "<sample>" not in page


def test_every_run_is_listed_by_its_tag(written):
    runs, _, page, markdown = written
    for row in runs:
        assert row["tag"] in page
        assert row["tag"] in markdown


def test_sections_come_in_order(written):
    _, _, page, markdown = written
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings == re.findall(r"^## (.*)$", markdown, re.MULTILINE)
    assert headings == [
        "The answer in short",
        "Leaderboard",
        "What back projection loses at",
        "Search",
        "How it was measured",
        "Environment",
        "Commands",
        "Runs",
    ]


def test_the_markdown_links_the_figures_and_its_tables_are_whole(written):
    _, paths, _, markdown = written
    files = {path.name for path in paths}
    assert {path.suffix for path in paths} == {".html", ".md", ".svg"}
    assert all(path.stat().st_size > 0 for path in paths)
    assert set(re.findall(r"\]\(([^)]*)\)", markdown)) == files - {"report.html", "README.md"}
    lines = markdown.splitlines()
    for above, line in pairwise(lines):
        if line.startswith("|") and above.startswith("|"):
            assert line.count(" |") == above.count(" |")
        if line.startswith("| ---"):
            assert above.startswith("|")


def test_the_answer_in_short_is_that_of_the_runs(written):
    runs, _, _, markdown = written
    answer = markdown.partition("## The answer in short")[2].partition("\n## ")[0]
    own = values(runs, MNIST, "Adam", "test_accuracy")
    half = stats.t.ppf(0.975, len(own) - 1) * own.std(ddof=1) / np.sqrt(len(own))
    (row,) = [line for line in answer.splitlines() if line.startswith("| Adam")]
    assert f"{own.mean():.4f} ± {half:.4f}" in row
    gap = values(runs, MNIST, "back projection", "test_accuracy").mean() - own.mean()
    assert (
        f"- {MNIST.name}: back projection has the best mean, Adam the next; they are {gap:.4f} ["
        in answer
    )
    name = HIGGS.name.replace("<", "&lt;")  # what is a tag in HTML is none in Markdown
    beaten = f"- {name}: gradient boosting has the best mean, back projection is number 3; "
    assert beaten in answer
    assert answer.count("apart (significant by the paired t test)") == 1
    assert answer.count("apart (not significant by the paired t test)") == 1


def test_sentences_of_what_is_lost(written):
    _, _, _, markdown = written
    lost = markdown.partition("loses at")[2].partition("## Search")[0]
    assert "Test AUC: gradient boosting is better by 0.0475" in lost
    assert "3 runs of it diverged and ended early" in lost


def test_rules_that_the_record_breaks_are_named(tmp_path, without_figures):
    def change(runs):
        for row in runs:
            if (row["task"], row["variation"]) == (MNIST.name, "Adam"):
                row["train_cpu_seconds"] = 3.0

    layout = Layout(tmp_path)
    write_record(layout, replace(EXPERIMENT, trials=4), change)
    trials = layout.record(TAG) / "trials.csv"
    trials.write_text("\n".join(trials.read_text().splitlines()[:-1]) + "\n")
    text = rewritten(layout)
    assert "More than a tenth above that on average: Adam 3.00" in text
    assert "Other numbers of trials: block coordinate descent on HIGGS &lt;sample>: 3" in text


def test_caveats_of_the_definition_stand_under_how_it_was_measured(tmp_path, without_figures):
    layout = Layout(tmp_path)
    write_record(layout, replace(EXPERIMENT, caveats=("Mind that <this> was invented.",)))
    text = rewritten(layout)
    rules = text.partition("## How it was measured")[2].partition("\n## ")[0]
    assert "- Mind that &lt;this> was invented.\n" in rules


def test_of_a_loss_the_smallest_is_the_best_of_a_search(tmp_path, without_figures):
    layout, task = Layout(tmp_path), replace(MNIST, metrics=("loss",))
    write_record(layout, replace(EXPERIMENT, tasks=(task,)))
    path = layout.record(TAG) / "trials.csv"  # which holds the negative of what was reached
    save_csv(path, [row | {"value": -1.5 - float(row["trial"])} for row in read_csv(path)])
    text = rewritten(layout)
    search = text.partition("best validation loss")[2].partition("\n\n")[0]
    least = min(float(row["trial"]) for row in read_csv(path))
    (row,) = [line for line in search.splitlines() if line.startswith("| Adam |")]
    assert f"| {1.5 + least:.2f} |" in row


def test_settings_at_an_edge_of_their_space_are_named(tmp_path, without_figures):
    layout = Layout(tmp_path)
    write_record(layout, EXPERIMENT)
    path = layout.record(TAG) / "experiment.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["edges"] = {f"{MNIST.name}, Adam": ["lr", "batch_size"], f"{MNIST.name}, L-BFGS": []}
    path.write_text(json.dumps(facts), encoding="utf-8")
    text = rewritten(layout)
    assert text.count("At an edge of what could be tried: Adam's lr and batch_size.") == 1


def test_where_nothing_was_searched_every_method_is_a_rival(tmp_path, without_figures):
    layout = Layout(tmp_path)
    write_record(layout)
    (layout.record(TAG) / "trials.csv").unlink()  # all settings are fixed by the definition
    assert f"- {MNIST.name}: back projection has the best mean, Adam the next" in rewritten(layout)


def test_an_ablation_shows_importance(tmp_path, without_figures):
    layout = Layout(tmp_path)
    runs = write_record(layout, ablation())
    text = rewritten(layout, "report.html")
    assert "<h2>Importance</h2>" in text
    assert "Nothing was searched" in text
    table = [row[0] for row in Page(text).rows[1:7]]
    own = {name: values(runs, MNIST, name, "test_accuracy").mean() for name in METHODS}
    worst_first = sorted((name for name in METHODS if name != "back projection"), key=own.get)
    assert table == ["back projection", *worst_first]
    importance = numbers(row_of(text, "L-BFGS")["importance"])[0]
    assert importance == pytest.approx(own["back projection"] - own["L-BFGS"], abs=5.1e-5)


def test_one_seed_is_not_testable(tmp_path, without_figures):
    layout = Layout(tmp_path)
    write_record(layout, replace(EXPERIMENT, seeds=(0,)))
    text = rewritten(layout, "report.html")
    assert row_of(text, "Adam")["p, t"] == "not testable"
    assert "<strong>" not in text
    assert "Not testable (one seed only): " in text


def test_a_missing_record_is_named(tmp_path):
    with pytest.raises(UserError, match=r"ploting_data/ holds nothing of the name nothing"):
        write_report("nothing", Layout(tmp_path))
