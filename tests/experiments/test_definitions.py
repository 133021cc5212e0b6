"""Definitions are read as they are written; what is wrong in one is named in one line."""

import json
import math
from itertools import product

import pytest

from datasets import load_dataset
from datasets.public_tables.catalogue import half
from new_algorithm.cli.errors import UserError
from new_algorithm.experiments.collect import definition_of
from new_algorithm.experiments.definition import FOLDER, experiment_from, load_experiment
from new_algorithm.experiments.entries import read_entries
from new_algorithm.experiments.experiment import Experiment, ScriptTask, ScriptVariation, Task
from new_algorithm.experiments.tuning import trainable_of
from new_algorithm.methods.method import Choice, Range
from new_algorithm.methods.registry import METHODS
from new_algorithm.record.layout import Layout

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


@pytest.mark.parametrize(
    ("name", "which"),
    [("tables", "judging"), ("tables_tuned", "judging"), ("tables_choosing", "choosing")],
)
def test_every_table_of_a_half_is_a_task_and_none_of_the_other(name, which):
    tables = [*half(which, "classification"), *half(which, "regression")]
    metrics = {"classification": ("accuracy",), "regression": ("rmse",)}
    assert [(task.name, task.flags, task.metrics) for task in load_experiment(name).tasks] == [
        (table.name, ("--table", table.name), metrics[table.task]) for table in tables
    ]


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.toml")), ids=lambda path: path.stem)
def test_scripts_of_shipped_definitions_know_their_flags(path):
    experiment = load_experiment(path.stem)
    if not experiment.of_scripts:
        pytest.skip("of methods")
    for task, variation in product(experiment.tasks, experiment.variations):
        trainable_of(task, variation, Layout(), threads=1).check()


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
    for_models = {"shampoo", "back_projection_torch"}  # torch_equal_steps and torch_equal_time
    without_decay = {"adam"}  # AdamW has all its settings, and decay
    assert {v.method for v in experiment.variations} == METHODS.keys() - references - (
        for_models | without_decay
    )
    *searched, defaults = sorted(experiment.variations, key=lambda v: v.searched, reverse=True)
    assert all(v.searched for v in searched)
    assert (defaults.method, defaults.searched) == ("back_projection", False)
    assert not any(v.settings for v in experiment.variations)
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


def task(**changes):
    return {"tasks": {"t": TASK | changes}}


def variation(**entries):
    return {"variations": {"v": entries}}


WIDTHS = 'give the units of each hidden layer, as [512, 256] or "8 × 64"'


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 3}, "unknown entry 'seed': did you mean seeds?"),
        ({"methods": ["adm"]}, "no method 'adm': choose adam"),
        ({"methods": "adam"}, 'methods: "adam" is not allowed: give a list'),
        ({"methods": ["adam", "adam"]}, "Adam: name each one once"),
        ({"baseline": "Adem"}, "baseline 'Adem' is none of 'Adam', 'SGD'"),
        ({"hypothesis": 3}, "hypothesis: 3 is not allowed: give a text in quotes"),
        ({"seeds": [1, 1]}, "seeds: give each one once"),
        ({"seeds": 0}, "seeds: 0 is not allowed: give how many, or a list of different ones"),
        ({"seeds": "3"}, 'seeds: "3" is not allowed: give how many, or a list of different ones'),
        ({"trials": -1}, "trials: -1 is not allowed: give a whole number of at least 0"),
        ({"trials": True}, "trials: true is not allowed: give a whole number of at least 0"),
        ({"trials": "2"}, 'trials: "2" is not allowed: give a whole number of at least 0'),
        ({"caveats": "c"}, 'caveats: "c" is not allowed: give a list'),
        ({"tasks": 3}, "tasks: 3 is not allowed: give a table"),
        ({"tasks": {"t": "mnist"}}, 't: "mnist" is not allowed: give a table'),
        (task(cpu_seconds=1.0), "t: give either cpu_seconds or epochs"),
        ({"tasks": {"t": {"dataset": "d", "widths": [4]}}}, "t: give either cpu_seconds or epochs"),
        (task(cpu_seconds="fast"), 't: cpu_seconds: "fast" is not allowed: give a finite number'),
        (task(widths=[]), f"t: widths: [] is not allowed: {WIDTHS}"),
        (task(widths=64), f"t: widths: 64 is not allowed: {WIDTHS}"),
        (task(widths="0 × 64"), f't: widths: "0 × 64" is not allowed: {WIDTHS}'),
        (task(widths="3 × 0"), "t: widths: 0 is not allowed: give a whole number of at least 1"),
        (task(widths="deep"), f't: widths: "deep" is not allowed: {WIDTHS}'),
        (task(train_limit="x"), 't: train_limit: "x" is not allowed: give a whole number of at'),
        (task(epochs="2"), 't: epochs: "2" is not allowed: give a whole number of at least 1'),
        (task(metrics=["f1"]), 't: metrics: "f1" is not allowed: give one of accuracy, auc, loss'),
        (task(metrics=[]), "t: metrics: [] is not allowed: give a list of accuracy, auc, loss"),
        (task(dataset=5), "t: dataset: 5 is not allowed: give a text in quotes"),
        ({"tasks": {"t": {"widths": [4], "epochs": 1}}}, "t: give dataset and widths, or a model"),
        (task(model="cnn"), "t: give dataset and widths, or a model"),
        ({"tasks": {"t": {"epochs": 1}}}, "t: give dataset and widths, or a model"),
        (task(parts=2) | {"methods": ["adam", "lbfgs"]}, "t: parts: an epoch of L-BFGS is whole"),
        (task(batch_size=0), "t: batch_size: 0 is not allowed: give a whole number of at least 1"),
        (
            task(batch_size=64) | {"methods": ["adam", "lbfgs"]},
            "t: batch_size: L-BFGS has none of its own to replace: leave one of the two out",
        ),
        (
            task(batch_size=64)
            | variation(method="adam", settings={"batch_size": 32})
            | {"baseline": "v", "methods": []},
            "t: batch_size: v has none of its own to replace: leave one of the two out",
        ),
        (
            {"tasks": {"t": {"model": "cnn", "epochs": 1, "batch_size": 64}}},
            "t: batch_size: a model has one of its own: leave it out",
        ),
        (
            {"tasks": {"t": {"model": "cnn", "epochs": 1, "label_smoothing": 0.1}}},
            "t: label_smoothing: a model has a loss of its own: leave it out",
        ),
        (task(label_smoothing=1), "t: label_smoothing: 1 is not allowed"),
        (
            {"tasks": {"t": {"model": "resnet", "epochs": 1}}},
            't: model: "resnet" is not allowed: give one of cnn, cnn_batch_norm, transformer, ',
        ),
        (
            {"tasks": {"t": {"model": "cnn", "epochs": 1}}, "methods": ["adam", "foof"]},
            "t: FOOF / ISAAC trains ReLU networks alone",
        ),
        ({"tasks": {}}, "tasks is missing"),
        ({"variations": {"v": 3}}, "v: 3 is not allowed: give a table"),
        (variation(method=["adam"]), 'v: method: ["adam"] is not allowed: give a text in quotes'),
        (variation(method="adam", searched="no"), 'v: searched: "no" is not allowed: give true or'),
        (variation(method="adam", settings=3), "v: settings: 3 is not allowed: give a table"),
        (
            variation(method="adam", settings={"lr": "x"}),
            'v: lr: "x" is not allowed: give a number',
        ),
        (
            variation(method="foof", settings={"layers": [1]}),
            "v: layers: [1] is not allowed: give a text in quotes or a whole number",
        ),
        (
            variation(method="adam", settings={"rate": 1}),
            "v: unknown entry 'rate': known are batch_size, inputs, lr",
        ),
        ({"paper": {"citation": "c"}}, "paper: source is missing"),
    ],
)
def test_a_wrong_entry_is_one_line_with_its_file_and_what_it_could_be(changes, message):
    with pytest.raises(UserError) as refusal:
        experiment_from("e", entries(**changes))
    assert str(refusal.value).startswith(f"e.toml: {message}")
    assert "\n" not in str(refusal.value)


SCRIPT = {"script": "toy.py", "metrics": ["loss"]}


def of_scripts(task=None, **variations):
    given = entries(tasks={"t": SCRIPT | (task or {})}, variations=variations, baseline="v")
    del given["methods"]
    return given


def test_tasks_may_be_scripts_and_variations_their_flags():
    flags = {"flags": ["--learner", "maml"], "vary": ["lr=1e-3..1", "batch-size=32,64"]}
    experiment = experiment_from("e", of_scripts(v=flags, plain={"flags": []}))
    assert experiment.tasks == (ScriptTask("t", "toy.py", ("loss",)),)
    assert experiment.variations == (
        ScriptVariation("v", ("--learner", "maml"), ("lr=1e-3..1", "batch-size=32,64")),
        ScriptVariation("plain"),
    )
    assert experiment.variations[0].space == {
        "lr": Range(1e-3, 1.0),
        "batch_size": Choice(("32", "64")),
    }
    assert (experiment.of_scripts, experiment.is_ablation) == (True, False)
    assert experiment_from("e", of_scripts(v=flags) | {"ablation": True}).is_ablation
    recorded = json.loads(json.dumps(definition_of(experiment)))
    assert read_entries(Experiment, recorded, "experiment") == experiment


V = {"flags": ["--lr", "1"]}
GIVEN = "is not the script's to be given: the experiment gives it"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (of_scripts(v={"method": "adam"}), "'t' is for a script and 'v' is not: give every task a"),
        (of_scripts(v=V) | {"methods": ["adam"]}, "'t' is for a script and 'Adam' is not: give"),
        (entries(variations={"v": V}), "'v' is for a script and 't' is not: give every task a"),
        (of_scripts({"dataset": "mnist"}, v=V), "t: unknown entry 'dataset': known are flags, me"),
        (of_scripts(v=V | {"method": "adam"}), "v: unknown entry"),
        (of_scripts({"metrics": []}, v=V), "t: metrics: [] is not allowed: give a list of final"),
        (of_scripts({"metrics": ["test_loss"]}, v=V), "t: metrics: test_loss is of held-out rows"),
        (of_scripts({"flags": "--lr 1"}, v=V), 't: flags: "--lr 1" is not allowed: give a list'),
        (of_scripts({"flags": ["--seed", "1"]}, v=V), f"t: --seed {GIVEN}"),
        (of_scripts(v={"flags": ["--held_out=test"]}), f"v: --held-out {GIVEN}"),
        (of_scripts(v={"flags": [1]}), "v: flags: 1 is not allowed: give a text in quotes"),
        (of_scripts(v={"flags": [], "vary": ["tag=a,b"]}), f"v: --tag {GIVEN}"),
        (of_scripts(v={"flags": [], "vary": ["lr"]}), "v: --vary lr: write FLAG=LOW..HIGH"),
        (of_scripts(v=V | {"vary": ["lr=1..2"]}), "v: --lr is both varied and fixed: leave one"),
        (
            of_scripts({"flags": ["--lr=1"]}, v={"flags": [], "vary": ["lr=1..2"]}),
            "v: --lr is both varied and fixed: leave one of them out",
        ),
    ],
)
def test_what_is_wrong_with_a_script_is_one_line(given, message):
    with pytest.raises(UserError) as refusal:
        experiment_from("e", given)
    assert str(refusal.value).startswith(f"e.toml: {message}")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lr": -1.0}, "lr: -1.0 is not allowed: give a number above 0"),
        ({"lr": math.nan}, "lr: NaN is not allowed: give a number above 0"),
        ({"batch_size": 0}, "batch_size: 0 is not allowed: give a number above 0"),
        ({"momentum": -0.5}, "momentum: -0.5 is not allowed"),
    ],
)
def test_numbers_that_no_training_can_do_with_are_one_line(settings, words):
    variations = {"v": {"method": "momentum", "settings": settings}}
    with pytest.raises(UserError) as refusal:
        experiment_from("e", entries(variations=variations))
    assert words in str(refusal.value)


@pytest.mark.parametrize("written", ["3 × 64", "3x64", [64, 64, 64]])
def test_equal_layers_are_written_in_short(written):
    (task,) = experiment_from("e", entries(tasks={"t": TASK | {"widths": written}})).tasks
    assert task.widths == (64, 64, 64)


@pytest.mark.parametrize("missing", ["hypothesis", "baseline", "tasks", "seeds"])
def test_what_an_experiment_needs_is_asked_for(missing):
    given = entries()
    del given[missing]
    with pytest.raises(UserError, match=rf"e\.toml: {missing} is missing"):
        experiment_from("e", given)


def test_unknown_name_and_broken_file_are_told(tmp_path):
    with pytest.raises(UserError, match=r"no definition 'leaderbord': give leaderboard"):
        load_experiment("leaderbord")
    (tmp_path / "broken.toml").write_text("seeds = = 3")
    with pytest.raises(UserError, match=r"broken\.toml: .*line 1"):
        load_experiment(str(tmp_path / "broken.toml"))


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.toml")), ids=lambda path: path.stem)
def test_what_is_recorded_of_a_definition_is_read_again(path):
    experiment = load_experiment(path.stem)
    recorded = json.loads(json.dumps(definition_of(experiment)))
    assert read_entries(Experiment, recorded, "experiment") == experiment


def test_labels_are_smoothed_where_there_are_some():
    task = Task("t", "synthetic", (8,), epochs=1, label_smoothing=0.1)
    assert task.problem(load_dataset("synthetic"), 1, 0, 1).label_smoothing == 0.1
    with pytest.raises(UserError, match="t: label_smoothing: there are no classes"):
        task.problem(load_dataset("regression"), 1, 0, 1)
