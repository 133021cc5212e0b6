"""The files of figures: the same record gives the same bytes, and colours do not move."""

from dataclasses import replace

from new_algorithm.experiments.record_tables import read_experiment
from new_algorithm.experiments.report import write_report
from new_algorithm.experiments.report_figures import file_stem, styles
from new_algorithm.record.files import save_csv
from new_algorithm.record.layout import Layout
from tests.experiments.invented_record import EXPERIMENT, METHODS, MNIST, TAG, write_record

SMALL = replace(
    EXPERIMENT,
    tasks=(MNIST,),
    variations=EXPERIMENT.variations[:3],
    seeds=(0, 1, 2),
)
CELLS = [
    {"hidden_layers": 2, "lambda_w": w, "lambda_h": h, "accuracy": 0.9 + w, "train_loss": h}
    for w in (0.01, 0.02)
    for h in (0.1, 1.0)
]


def files_of(root):
    """The report's files by name, with their bytes."""
    layout = Layout(root)
    write_record(layout, SMALL)
    return {path.name: path.read_bytes() for path in write_report(TAG, layout)}


def test_the_same_record_gives_the_same_bytes(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first, second = (files_of(tmp_path / name) for name in ("first", "second"))
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_the_map_is_shown_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setattr("new_algorithm.experiments.report.draw_task", lambda *_: [])
    layout = Layout(tmp_path)
    write_record(layout, replace(SMALL, lambda_map="mapped"))
    assert {path.name for path in write_report(TAG, layout)} == {"report.html", "README.md"}
    assert b"map of both" not in (layout.figures(TAG) / "report.html").read_bytes()
    layout.record("mapped").mkdir()
    save_csv(layout.record("mapped") / "lambda_map.csv", CELLS)
    drawn = {path.name for path in write_report(TAG, layout)} - {"report.html", "README.md"}
    assert drawn == {"lambda_map.svg"}
    assert b"map of both" in (layout.figures(TAG) / "report.html").read_bytes()


def test_colours_belong_to_variations_and_black_to_the_baseline(tmp_path):
    layout = Layout(tmp_path)
    write_record(layout, replace(EXPERIMENT, baseline="Adam"))
    look = styles(read_experiment(TAG, layout))
    assert look["Adam"]["color"] == "black"
    assert look.keys() == METHODS.keys()
    assert len({style["color"] for style in look.values()}) == len(METHODS)


def test_names_of_files_are_plain():
    assert file_stem("MNIST, 8 × 64") == "mnist_8_x_64"
    assert file_stem("HIGGS: 28-256-1") == "higgs_28_256_1"
