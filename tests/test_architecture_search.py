"""The search as a user runs it: what it leaves behind, pairs of several runs, what it refuses."""

import csv
import json
import sys

import numpy as np
import pytest
from scipy.stats import t, ttest_1samp

from new_algorithm import architecture_search
from new_algorithm.architecture_search import MAY_DIFFER
from new_algorithm.cli.errors import UserError
from new_algorithm.experiments.pairs import read_pairs
from new_algorithm.record.layout import Layout
from new_algorithm.record.run import Run

SCRIPT = "new_algorithm/architecture_search.py"
PAIRS = "derived_against_random.csv"
SMALL = ("--dataset", "strokes", "--train-limit", 150, "--test-limit", 100, "--nodes", 1)
SMALL += ("--batch-size", 10, "--search-epochs", 1, "--epochs", 4, "--hypergradient", "first-order")


def table(folder, name):
    with (folder / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def both(work_tree, run_script):
    """The folder of a run of seeds 0 and 1."""
    finished = run_script(SCRIPT, *SMALL, "--repeats", 2, "--tag", "cells_both")
    assert finished.returncode == 0, finished.stderr
    return work_tree / "ploting_data" / "cells_both"


@pytest.fixture
def as_if(both):
    """as_if(tag, seed, epochs=…): a record as a run of that seed alone would have left it."""

    def leave(tag, seed, **settings):
        folder = both.parent / tag
        folder.mkdir(exist_ok=True)
        record = json.loads((both / "run.json").read_text())
        record["config"] |= {"seed": seed, "repeats": 1, **settings}
        (folder / "run.json").write_text(json.dumps(record))
        names, *lines = (both / PAIRS).read_text().splitlines()
        (folder / PAIRS).write_text(f"{names}\n{lines[seed]}\n")

    return leave


def test_a_run_leaves_cells_that_learn_and_a_random_pair_of_their_size(both, work_tree):
    (pair, _), accuracies = table(both, "derived_against_random"), []
    for cells in ("derived", "random"):
        own = [
            row for row in table(both, "retraining") if (row["seed"], row["cells"]) == ("0", cells)
        ]
        accuracies.append(float(own[-1]["held_out_accuracy"]))
        assert float(pair[f"{cells}_accuracy"]) == accuracies[-1]
    assert accuracies[0] > 0.2  # chance: .1
    np.testing.assert_allclose(np.load(both / "test_accuracy.npy")[-1], accuracies[0])
    sizes = [int(pair[f"{cells}_parameters"]) for cells in ("derived", "random")]
    assert abs(sizes[1] / sizes[0] - 1) <= 0.1
    for name in ("cells", "alphas", "loss", "layer_norms"):
        assert (work_tree / "figures" / "cells_both" / f"{name}.png").stat().st_size > 5_000
    assert len(table(both, "cells")) == 2 * 2 * 2 * 2  # seeds, cells, kinds, edges


def test_gathered_pairs_are_those_of_one_run(both, as_if, work_tree, run_script):
    for seed in (0, 1):
        as_if(f"cells_as_{seed}", seed)
    finished = run_script(SCRIPT, "--gather", "cells_as_1", "cells_as_0", "--tag", "cells_gathered")
    assert finished.returncode == 0, finished.stderr
    record = json.loads((both.parent / "cells_gathered" / "run.json").read_text())
    assert (record["config"]["dataset"], record["config"]["epochs"]) == ("strokes", 4)
    statistics = table(both, "paired_statistics")
    assert table(both.parent / "cells_gathered", "paired_statistics") == statistics
    differences = [float(row["difference"]) for row in table(both, "derived_against_random")]
    numbers = record["final_metrics"]
    assert numbers["mean_difference"] == pytest.approx(np.mean(differences))
    interval = [numbers["difference_low_95"], numbers["difference_high_95"]]
    reach = t.ppf(0.975, 1) * np.std(differences, ddof=1) / 2**0.5
    np.testing.assert_allclose(interval, np.mean(differences) + np.array([-reach, reach]))
    assert numbers["paired_t_p"] == pytest.approx(ttest_1samp(differences, 0).pvalue)
    note = (work_tree / "figures" / "cells_gathered" / "README.md").read_text()
    assert f"| paired_t_p | {numbers['paired_t_p']:.5g} |" in note


def test_pairs_that_do_not_belong_together_are_refused(both, as_if):
    as_if("cells_first", 0)
    as_if("cells_again", 0)
    as_if("cells_longer", 1, epochs=9)
    for tag, words in {
        "cells_again": "seed 0 is there more than once",
        "cells_longer": "--gather cells_longer: its --epochs",
        "cells_absent": "--gather cells_absent: no run",
    }.items():
        with pytest.raises(UserError, match=words):
            read_pairs(["cells_first", tag], PAIRS, MAY_DIFFER, Layout(both.parents[1]))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--cells", "2"), ("--cells 2", "at least 3")),
        (("--channels", "1"), ("--channels 1",)),
        (("--dataset", "strokes", "--train-limit", "40"), ("--batch-size 32", "at most 20")),
        (("--dataset", "strokes", "--train-limit", "1"), ("--train-limit 1", "at least 2")),
        (("--hypergradient", "implicit", "--damping", "0"), ("--damping 0",)),
        (("--damping", "3"), ("--damping: second-order has none",)),
    ],
)
def test_bad_values_are_refused(flags, words, monkeypatch):
    monkeypatch.setattr(sys, "argv", [SCRIPT, *flags])
    monkeypatch.setattr(Run, "open", None)
    with pytest.raises(UserError) as refusal:
        architecture_search.main()
    for word in words:
        assert word in str(refusal.value)


def test_data_that_are_not_there_are_named_before_anything_is_written(tmp_path, monkeypatch):
    flags = ("--dataset", "cifar10", "--data-dir", str(tmp_path), "--tag", "no_images")
    monkeypatch.setattr(sys, "argv", [SCRIPT, *flags])
    monkeypatch.setattr(Run, "open", None)
    with pytest.raises(UserError, match=r"no CIFAR-10.*--data-dir"):
        architecture_search.main()
