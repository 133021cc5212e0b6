"""Definitions are read as they are written, and a wrong one is told in one line."""

import pytest

from new_algorithm.cli.errors import UserError
from new_algorithm.experiments.definition import (
    FOLDER,
    experiment_from,
    load_experiment,
)
from new_algorithm.methods.registry import METHODS

TASK = {"dataset": "synthetic", "widths": [4], "epochs": 1}


def entries(**changes):
    return {
        "hypothesis": "h",
        "baseline": "Adam",
        "methods": ["adam", "sgd"],
        "seeds": 3,
        "tasks": {"t": TASK},
    } | changes


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.toml")), ids=lambda path: path.stem)
def test_every_definition_that_is_shipped_is_sound(path):
    assert load_experiment(path.stem).name == path.stem


def test_an_ablation_has_a_variation_for_each_component():
    left_out = ("baseline", "methods")
    given = {name: value for name, value in entries().items() if name not in left_out}
    experiment = experiment_from("e", given | {"components_of": "foof"})
    method = METHODS["foof"]
    assert experiment.baseline == method.name
    assert [one.name for one in experiment.variations] == [method.name, *method.components]
    assert not any(one.searched for one in experiment.variations)
    assert {one.name: one.settings for one in experiment.variations[1:]} == method.components
    with pytest.raises(UserError, match=r"'lbfgs' names no components: choose among .*foof"):
        experiment_from("e", given | {"components_of": "lbfgs"})


def test_leaderboard_gives_every_method_the_same_budget():
    experiment = load_experiment("leaderboard")
    references = {"logistic_regression", "gradient_boosting"}  # for two classes alone
    assert {one.method for one in experiment.variations} == METHODS.keys() - references
    assert all(v.searched and not v.settings for v in experiment.variations)
    assert len(experiment.seeds) >= 10
    assert all(task.cpu_seconds for task in experiment.tasks)


def test_quick_leaderboard_is_the_leaderboard_in_small():
    quick, full = load_experiment("leaderboard_quick"), load_experiment("leaderboard")
    assert quick.variations == full.variations
    assert [t.name for t in quick.tasks] == [t.name for t in full.tasks]


def test_methods_go_by_their_names_and_variations_by_their_own():
    fixed = {"method": "adam", "settings": {"lr": 0.1}, "searched": False}
    experiment = experiment_from("e", entries(variations={"Adam, fast": fixed}))
    assert [v.name for v in experiment.variations] == ["Adam", "SGD", "Adam, fast"]
    assert experiment.variations[-1].settings == {"lr": 0.1}
    assert experiment.seeds == (0, 1, 2)
    assert experiment.tasks[0].widths == (4,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 3}, r"e: unknown entry 'seed': did you mean seeds\?"),
        ({"methods": ["adm"]}, r"e: no method 'adm': choose adam"),
        ({"methods": ["adam", "adam"]}, "e: Adam: name each one once"),
        ({"baseline": "Adem"}, r"baseline 'Adem' is none of 'Adam', 'SGD'"),
        ({"seeds": [1, 1]}, "seeds: give each one once"),
        ({"seeds": 0}, "seeds: give each one once, and at least one"),
        ({"trials": -1}, "trials -1: give 0 or more"),
        ({"tasks": {"t": TASK | {"cpu_seconds": 1.0}}}, "either cpu_seconds or epochs"),
        ({"tasks": {"t": {"dataset": "mnist", "widths": [4]}}}, "either cpu_seconds or epochs"),
        ({"tasks": {"t": TASK | {"widths": []}}}, "widths: give the units"),
        ({"tasks": {"t": TASK | {"widths": 64}}}, "widths: give the units"),
        ({"tasks": {"t": TASK | {"train_limit": "x"}}}, "train_limit 'x': give a number"),
        ({"tasks": {"t": TASK | {"epochs": "2"}}}, "either cpu_seconds or epochs"),
        ({"trials": "2"}, "trials '2': give 0 or more"),
        ({"tasks": {"t": TASK | {"metrics": ["f1"]}}}, "metrics are accuracy, auc, loss"),
        ({"tasks": {"t": {"widths": [4], "epochs": 1}}}, "e: t: 'dataset' is missing"),
        (
            {"variations": {"v": {"method": "adam", "settings": {"rate": 1}}}},
            "e: v: unknown entry 'rate': known are batch_size, inputs, lr",
        ),
        ({"paper": {"citation": "c"}}, "e: paper: .*'source'.* missing"),
    ],
)
def test_a_wrong_entry_is_named_with_what_it_could_be(changes, message):
    with pytest.raises(UserError, match=message):
        experiment_from("e", entries(**changes))


@pytest.mark.parametrize("missing", ["hypothesis", "baseline", "tasks", "seeds"])
def test_what_an_experiment_needs_is_asked_for(missing):
    given = entries()
    del given[missing]
    with pytest.raises(UserError, match=f"e: {missing} is missing"):
        experiment_from("e", given)


def test_unknown_name_and_broken_file_are_told(tmp_path):
    with pytest.raises(UserError, match=r"no definition 'leaderbord': give leaderboard"):
        load_experiment("leaderbord")
    (tmp_path / "broken.toml").write_text("seeds = = 3")
    with pytest.raises(UserError, match=r"broken\.toml: .*line 1"):
        load_experiment(str(tmp_path / "broken.toml"))
