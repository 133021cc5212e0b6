"""A paper's figure from a file beside ours, with a verdict."""

import json

from new_algorithm.experiments.definition import PAPERS, load_experiment
from tests.test_compare_methods import assert_one_clear_line

REPRODUCE = "new_algorithm/reproduce_paper.py"
PAPER = """
hypothesis = "The paper's accuracy is reached."
baseline = "FOOF / ISAAC"
methods = ["foof"]
trials = 0
seeds = 2

[paper]
citation = "Nobody, Journal of Tests, 2020"
source = "Table 7"
value = {value}
tolerance = 0.01
deviations = ["Drawn at random."]

[tasks."tiny"]
dataset = "synthetic"
train_limit = 300
widths = [6]
epochs = 2
"""


def test_papers_that_come_with_the_repository_state_what_they_reproduce():
    names = sorted(path.stem for path in PAPERS.glob("*.toml"))
    assert {"isaac_mnist", "bcd_mnist", "admm_higgs"} <= set(names)
    for name in names:
        paper = load_experiment(name, PAPERS).paper
        assert paper is not None
        assert all((paper.citation, paper.source, paper.deviations)), name
        assert 0 < paper.tolerance < paper.value <= 1


def test_verdict_is_written(work_tree, run_script, tmp_path):
    path = tmp_path / "nobody.toml"
    path.write_text(PAPER.format(value=0.999), encoding="utf-8")
    finished = run_script(REPRODUCE, path)
    assert finished.returncode == 0, finished.stderr
    twin = (work_tree / "figures" / "nobody" / "README.md").read_text(encoding="utf-8")
    for words in ("Nobody, Journal of Tests, 2020", "Table 7", "Drawn at random.", "below"):
        assert words in twin
    facts = json.loads((work_tree / "ploting_data" / "nobody" / "experiment.json").read_text())
    assert facts["experiment"]["paper"]["value"] == 0.999


def test_unknown_paper_is_refused_before_anything_happens(work_tree, run_script):
    before = sorted(work_tree.glob("ploting_data/*"))
    assert_one_clear_line(run_script(REPRODUCE, "isaac_minst"), "isaac_minst", "isaac_mnist")
    assert sorted(work_tree.glob("ploting_data/*")) == before
