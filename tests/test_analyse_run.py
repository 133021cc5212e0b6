"""analyse_run.py as a user calls it: every part of a small run, the page, and mistakes."""

import csv
import json
import re

import pytest

from new_algorithm.analysis.parts import PARTS

SCRIPT = "new_algorithm/analyse_run.py"


@pytest.fixture(scope="module")
def analysed(work_tree, run_script):
    flags = ["--dataset", "synthetic", "--widths", "12", "8", "--epochs", "3"]
    for seed in ("0", "1"):
        tag = ["--seed", seed, "--tag", f"seed_{seed}"]
        done = run_script("new_algorithm/n_layer_relu_data.py", *flags, *tag)
        assert done.returncode == 0, done.stderr
    done = run_script(SCRIPT, "seed_0", "--beside", "seed_1", "--rows", "200")
    assert done.returncode == 0, done.stderr
    return done


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


def test_an_analysis_is_drawn_again_from_its_record_alone(analysed, work_tree, run_script):
    folder = work_tree / "figures" / "seed_0.analysis"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for path in folder.iterdir():
        path.unlink()
    weights = work_tree / "ploting_data" / "seed_0" / "weights.npz"
    aside = weights.rename(weights.with_suffix(".aside"))
    done = run_script("new_algorithm/plot_runs.py", "seed_0.analysis")
    aside.rename(weights)
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_part_analysed_again_leaves_the_others(analysed, work_tree, run_script):
    folder = work_tree / "ploting_data" / "seed_0.analysis"
    before = (folder / "curvature.csv").read_bytes()
    done = run_script(SCRIPT, "seed_0", "--parts", "errors", "--rows", "50")
    assert done.returncode == 0, done.stderr
    assert (folder / "curvature.csv").read_bytes() == before
    facts = json.loads((folder / "analysis.json").read_text("utf-8"))
    assert list(facts["parts"]) == list(PARTS)


def test_a_training_is_never_replaced_by_an_analysis(analysed, work_tree, run_script):
    record = work_tree / "ploting_data" / "seed_1" / "run.json"
    before = record.read_bytes()
    for more in ([], ["--overwrite"]):
        done = run_script(SCRIPT, "seed_0", "--tag", "seed_1", "--parts", "errors", *more)
        assert done.returncode != 0
        assert "holds a whole run" in done.stderr
    assert record.read_bytes() == before


def test_the_analysis_of_another_run_begins_anew(analysed, work_tree, run_script):
    folder = work_tree / "ploting_data" / "mixed"
    for of, part in (("seed_0", "errors"), ("seed_1", "representations")):
        done = run_script(SCRIPT, of, "--tag", "mixed", "--parts", part, "--rows", "50")
        assert done.returncode == 0, done.stderr
    facts = json.loads((folder / "analysis.json").read_text("utf-8"))
    assert (facts["of"], list(facts["parts"])) == ("seed_1", ["representations"])
    assert not (folder / "classes.csv").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["absent"], "run.json is missing"),
        (["seed_0", "--parts", "nothing"], "--parts nothing: give some of errors"),
        (["seed_0", "--beside", "absent"], "run.json is missing"),
        (["../seed_0"], "is not allowed"),
    ],
)
def test_mistakes_are_one_line(analysed, run_script, words, told):
    done = run_script(SCRIPT, *words)
    assert done.returncode != 0
    assert told in done.stderr
    assert "Traceback" not in done.stderr
