"""analyse_run.py as a user calls it: every part of a small run, the page, and mistakes."""

import csv
import json
import re
import shutil

import numpy as np
import pytest

from new_algorithm.analyse_run import Config, analyse
from new_algorithm.analysis import landscape
from new_algorithm.analysis.parts import PARTS
from new_algorithm.cli.errors import UserError
from new_algorithm.plot_runs import draw
from new_algorithm.plots import style
from new_algorithm.record.files import save_npz
from new_algorithm.record.layout import Layout
from new_algorithm.record.snapshots import read_arrays

SCRIPT = "new_algorithm/analyse_run.py"


@pytest.fixture(scope="module")
def analysed(work_tree, run_script):
    """Two runs, and the analysis of one beside the other, landscapes and pictures coarse."""
    flags = ["--dataset", "synthetic", "--widths", "7", "6", "--epochs", "2"]
    for seed in ("0", "1"):
        tag = ["--seed", seed, "--tag", f"seed_{seed}"]
        done = run_script("new_algorithm/n_layer_relu_data.py", *flags, *tag)
        assert done.returncode == 0, done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(landscape, "SIDE", 5)
        patch.setattr(landscape, "POINTS", 9)
        patch.setitem(style.HOUSE_STYLE, "savefig.dpi", 40)
        analyse(Config(of="seed_0", beside="seed_1", rows=100), Layout(work_tree))


@pytest.fixture
def look(analysed, work_tree, monkeypatch):
    """look("seed_0", parts=("errors",)): the same of few rows."""
    monkeypatch.setattr(landscape, "SIDE", 5)
    monkeypatch.setitem(style.HOUSE_STYLE, "savefig.dpi", 40)
    return lambda of, **flags: analyse(Config(of=of, rows=50, **flags), Layout(work_tree))


def test_every_part_has_a_section_with_sentences_and_pictures(analysed, work_tree):
    folder = work_tree / "figures" / "seed_0.analysis"
    page = (folder / "report.html").read_text(encoding="utf-8")
    twin = (folder / "README.md").read_text(encoding="utf-8")
    facts = json.loads(
        (work_tree / "ploting_data" / "seed_0.analysis" / "analysis.json").read_text("utf-8")
    )
    assert list(facts["parts"]) == list(PARTS)
    for name, part in facts["parts"].items():
        assert part["sentences"], name
        assert f'<section id="{name}">' in page
        assert f"## {part['title']}" in twin
    pictures = set(re.findall(r"\]\((\w+\.png)\)", twin))
    assert pictures == {path.name for path in folder.glob("*.png")}
    assert page.count("data:image/png") == len(pictures)
    assert 'src="http' not in page  # the page needs no other file


def test_numbers_that_two_parts_find_agree(analysed, work_tree):
    """The trace of the true Fisher information is that of the Gauss-Newton matrix."""
    folder = work_tree / "ploting_data" / "seed_0.analysis"

    def table(name):
        with (folder / f"{name}.csv").open(encoding="utf-8") as file:
            return list(csv.DictReader(file))

    matrix = next(row for row in table("curvature") if row["matrix"] == "Gauss–Newton")
    fisher = sum(float(row["true"]) for row in table("fisher"))
    assert float(matrix["trace"]) == pytest.approx(fisher, rel=0.1)
    barriers = {row["line"]: row for row in table("barriers")}
    assert {"start to end", "to seed_1", "to seed_1, units matched"} == barriers.keys()


def test_an_analysis_is_drawn_again_from_its_record_alone(look, work_tree):
    folder = work_tree / "figures" / "seed_0.analysis"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for path in folder.iterdir():
        path.unlink()
    weights = work_tree / "ploting_data" / "seed_0" / "weights.npz"
    aside = weights.rename(weights.with_suffix(".aside"))
    draw(["seed_0.analysis"], None, Layout(work_tree))
    aside.rename(weights)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_part_analysed_again_leaves_the_others(analysed, work_tree, run_script):
    folder = work_tree / "ploting_data" / "seed_0.analysis"
    before = (folder / "curvature.csv").read_bytes()
    done = run_script(SCRIPT, "seed_0", "--parts", "errors", "--rows", "50")
    assert done.returncode == 0, done.stderr
    assert "Wrote figures/seed_0.analysis/report.html" in done.stdout
    assert (folder / "curvature.csv").read_bytes() == before
    facts = json.loads((folder / "analysis.json").read_text("utf-8"))
    assert list(facts["parts"]) == list(PARTS)


def test_a_training_is_never_replaced_by_an_analysis(look, work_tree):
    record = work_tree / "ploting_data" / "seed_1" / "run.json"
    before = record.read_bytes()
    for overwrite in (False, True):
        with pytest.raises(UserError, match="holds a whole run"):
            look("seed_0", tag="seed_1", parts=("errors",), overwrite=overwrite)
    assert record.read_bytes() == before


def test_the_analysis_of_another_run_begins_anew(look, work_tree):
    folder = work_tree / "ploting_data" / "mixed"
    for of, part in (("seed_0", "errors"), ("seed_1", "representations")):
        look(of, tag="mixed", parts=(part,))
    facts = json.loads((folder / "analysis.json").read_text("utf-8"))
    assert (facts["of"], list(facts["parts"])) == ("seed_1", ["representations"])
    assert not (folder / "classes.csv").exists()


def test_the_page_says_which_epoch_is_looked_at(look, work_tree):
    figures = work_tree / "figures" / "seed_0.analysis"
    for name in ("report.html", "README.md"):
        page = (figures / name).read_text(encoding="utf-8")
        assert "The end of the run is here epoch 2, the last that was recorded" in page


def test_a_run_of_an_experiment_has_an_analysis_beside_the_others(look, work_tree):
    records = work_tree / "ploting_data"
    shutil.copytree(records / "seed_0", records / "experiment" / "task.one.0")
    look("experiment/task.one.0", parts=("errors",))
    facts = json.loads(
        (records / "experiment.task.one.0.analysis" / "analysis.json").read_text("utf-8")
    )
    assert facts["of"] == "experiment/task.one.0"
    assert (work_tree / "figures" / "experiment.task.one.0.analysis" / "README.md").exists()


def test_a_run_in_double_precision_stands_beside_one_in_single(look, work_tree):
    records = work_tree / "ploting_data"
    shutil.copytree(records / "seed_1", records / "double")
    for path in (records / "double" / "weights.npz", *(records / "double").glob("snapshots/*")):
        weights = read_arrays(path)
        assert {one.dtype for one in weights.values()} == {np.dtype(np.float32)}
        save_npz(path, **{name: one.astype(np.float64) for name, one in weights.items()})
    look("seed_0", beside="double", parts=("landscape",), tag="two_types")
    facts = json.loads((records / "two_types" / "analysis.json").read_text("utf-8"))
    assert "to double, units matched" in " ".join(facts["parts"]["landscape"]["sentences"])


@pytest.mark.parametrize(
    ("of", "flags", "told"),
    [
        ("absent", {}, "run.json is missing"),
        ("seed_0", {"parts": ("nothing",)}, "--parts nothing: give some of errors"),
        ("seed_0", {"beside": "absent"}, "run.json is missing"),
        ("../seed_0", {}, "is not allowed"),
        ("seed_0/..", {}, "is not allowed"),
        ("seed_0/a/b", {}, "is not allowed"),
    ],
)
def test_mistakes_are_refused(look, of, flags, told):
    with pytest.raises(UserError, match=re.escape(told)):
        look(of, **flags)
