"""An ablation: the method as it is beside itself with one component changed."""

import csv

import pytest

from new_algorithm.ablate_method import Config, ablation, describe_widths
from new_algorithm.cli.errors import UserError
from new_algorithm.methods.registry import METHODS
from tests.test_compare_methods import assert_one_clear_line

ABLATE = "new_algorithm/ablate_method.py"


def test_each_component_alone_is_changed():
    method = METHODS["back_projection"]
    experiment = ablation(Config(method="back_projection", widths=(5, 5), dataset="synthetic"))
    whole, *parts = experiment.variations
    assert experiment.baseline == whole.name == method.name
    assert whole.settings == {}
    assert {part.name: part.settings for part in parts} == method.components
    assert not any(one.searched for one in experiment.variations)
    assert len(experiment.seeds) >= 10
    (task,) = experiment.tasks
    assert (task.name, task.epochs, task.cpu_seconds) == ("synthetic, 2 × 5", 4, None)
    timed = ablation(Config(method="back_projection", cpu_seconds=2.0)).tasks[0]
    assert (timed.epochs, timed.cpu_seconds) == (None, 2.0)


def test_named_components_alone_are_taken_out():
    experiment = ablation(Config(method="back_projection", components=("no momentum",)))
    assert [one.name for one in experiment.variations] == ["back projection", "no momentum"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"method": "adam"}, ["'adam'", "back_projection"]),
        ({"method": "back_projektion"}, ["'back_projektion'", "back_projection"]),
        ({"method": "back_projection", "components": ("no sense",)}, ["no sense", "no momentum"]),
        ({"method": "back_projection", "widths": ()}, ["widths"]),
    ],
)
def test_what_is_unknown_is_named(flags, words):
    with pytest.raises(UserError) as refusal:
        ablation(Config(**flags))
    assert "\n" not in str(refusal.value)
    assert all(word in str(refusal.value) for word in words)


@pytest.mark.parametrize(
    ("widths", "words"), [((64,) * 8, "8 × 64"), ((5,), "1 × 5"), ((9, 7), "9-7")]
)
def test_widths_in_words(widths, words):
    assert describe_widths(widths) == words


def test_ablation_is_carried_out_and_reported(work_tree, run_script):
    finished = run_script(
        *(ABLATE, "back_projection", "--components", "no momentum", "--dataset", "synthetic"),
        *("--widths", 6, "--epochs", 1, "--runs", 2, "--tag", "ablated"),
    )
    assert finished.returncode == 0, finished.stderr
    with (work_tree / "ploting_data" / "ablated" / "runs.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["variation"] for row in rows] == ["back projection"] * 2 + ["no momentum"] * 2
    assert rows[0]["test_loss"] != rows[2]["test_loss"]
    twin = (work_tree / "figures" / "ablated" / "README.md").read_text(encoding="utf-8")
    assert "Importance" in twin
    assert "no momentum" in twin
    assert "without it the accuracy on unseen rows is worse" in twin


def test_unknown_component_is_refused_before_anything_happens(work_tree, run_script):
    before = sorted(work_tree.glob("ploting_data/*"))
    finished = run_script(ABLATE, "back_projection", "--components", "no sense")
    assert_one_clear_line(finished, "--components", "no sense", "no momentum")
    assert sorted(work_tree.glob("ploting_data/*")) == before
