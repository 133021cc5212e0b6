"""Thirty-six faulty runs and thirty sound ones, most of them trained here, are told apart."""

import importlib
import shlex
from pathlib import Path

import numpy as np
import pytest
import tyro

from datasets import load_dataset
from new_algorithm import two_layer_relu
from new_algorithm.record.advice.advise import advise
from new_algorithm.record.files import read_record
from new_algorithm.record.history import read_series
from tests.record.small_runs import (
    FAITHFUL,
    bench,
    by_flags,
    drawn,
    flat_strokes,
    from_file,
    from_weights,
    n_layer,
    one_feature_times_1000,
    other_units,
    outlier,
    rare_class,
    shuffled_held_out,
    two_layer,
    without_biases,
    without_second_layer,
)

ROOT = Path(__file__).resolve().parents[2]

WILD, IMBALANCE, CHANCE = "Features on wild scales", "Class imbalance", "Not above chance"
LARGE, SMALL, PLATEAU = "Too large steps", "Too small steps", "Plateau"
EXPLODING, VANISHING, DEAD = "Exploding Δ", "Vanishing Δ", "Dead units"
CAP, GRAM = "Conjugate gradients end at their cap", "Ill-conditioned Gram matrices"
LIMIT, STRONG, BROKEN = "Damping at its limit", "Damping too strong", "Steps break their promise"

PASSED = {"hidden_penalty": "passed-down"}
TRAINED = {  # what is wrong: the run, the warnings it draws in their order, the flag of the first
    "rate 50": (bench(lr=50.0), ["Divergence"], "--lr 5"),
    "rate 2 with momentum": (bench(lr=2.0, optimizer="momentum"), [LARGE], "--lr 0.2"),
    "Adam's rate 3": (bench(lr=3.0, optimizer="adam", num_layers=4), [LARGE], "--lr 0.3"),
    "rate 1e-6": (bench(lr=1e-6), [SMALL], "--lr 0.0001"),
    "one hidden unit": (
        bench(dataset="spirals", hidden_dim=1, lr=0.1, epochs=8),
        [PLATEAU],
        "--lr 0.3",
    ),
    "fixed step 3": (n_layer(step_size=3.0), ["Divergence", LIMIT], "--step-size 0.3"),
    "fixed step 100": (n_layer(step_size=100.0), [LIMIT, BROKEN], "--step-size 10"),
    "bounds 5 to 50": (n_layer(step_bounds=(5.0, 50.0)), [LARGE], "--step-bounds 2.5 25"),
    "bound 1e-12": (n_layer(step_bounds=(1e-12,) * 2), [SMALL], "--step-bounds 1e-10 1e-10"),
    "λ_w 1e6": (n_layer(lambda_w_layers=(1e6,)), [STRONG], "--lambda-w-layers 1e+03"),
    "λ_w 1e-6": (n_layer(lambda_w_layers=(1e-6,), hidden_dim=32), [GRAM], "--lambda-w-layers 0.1"),
    "one iteration": (n_layer(solver="cg", cg_iterations=1), [CAP], "--cg-iterations 4"),
    "λ_h 1e-3": (
        n_layer(lambda_h_layers=(1e-3,), num_layers=9, **PASSED),
        [EXPLODING, BROKEN],
        "--lambda-h-layers inf",
    ),
    "λ_h 0.01": (
        n_layer(lambda_h_layers=(1e-2,), num_layers=5, **PASSED),
        [BROKEN],
        "--lambda-h-layers inf",
    ),
    "what is left passed down": (
        n_layer(pass_down="left", num_layers=9, lambda_w_layers=(1e-3,)),
        [EXPLODING, BROKEN],
        "--pass-down whole",
    ),
    "weights a fifth as large": (
        from_weights(without_biases(0.2), num_layers=9, epochs=2),
        [VANISHING, DEAD],
        "--num-layers 5",
    ),
    "biases -100": (from_weights(without_second_layer), [DEAD], "--seed 1"),
    "two-layer step 100": (two_layer(step_size=100.0), [LARGE], "--step-size 10"),
    "two-layer step 1e4": (two_layer(step_size=1e4), ["Divergence"], "--step-size 1e+03"),
    "two-layer step 1e-6": (two_layer(step_size=1e-6), [SMALL], "--step-size 0.0001"),
    "classes 120 to 1": (from_file(rare_class), [IMBALANCE], None),
    "one outlying row": (from_file(outlier), [WILD], None),
    "a feature times 1000": (n_layer(one_feature_times_1000), [WILD], None),
    "that diverges": (bench(one_feature_times_1000, lr=0.05), [WILD, "Divergence"], None),
    "labels of test rows shuffled": (n_layer(shuffled_held_out), [CHANCE, "Overfitting"], None),
    "targets of test rows shuffled": (
        n_layer(lambda: shuffled_held_out("regression")),
        [CHANCE, "Overfitting"],
        None,
    ),
    "200 rows, 15 epochs": (
        n_layer(lambda: drawn(rows=200), epochs=15, hidden_dim=32, batch_size=32),
        ["Overfitting"],
        "--epochs 4",
    ),
    "100 rows by Adam": (
        bench(lambda: drawn(rows=100), epochs=20, batch_size=20, optimizer="adam", lr=0.03),
        ["Overfitting"],
        "--epochs 5",
    ),
}

TWO_STEPS = {"batch_size": "full", "epochs": 2, "num_layers": 9, "hidden_dim": 64}
SOUND = {
    "n-layer": n_layer(),
    "another seed": n_layer(seed=1),
    "spirals": n_layer(dataset="spirals"),
    "regression": n_layer(dataset="regression"),
    "strokes": n_layer(flat_strokes, epochs=3),
    "8 hidden layers": n_layer(num_layers=9, seed=2),
    "finite λ_h, passed down": n_layer(lambda_h_layers=(10.0,), num_layers=5, **PASSED),
    "finite λ_h": n_layer(lambda_h_layers=(0.1,), num_layers=5),
    "faithful": n_layer(**FAITHFUL),
    "three iterations": n_layer(solver="cg"),
    "three iterations, spirals": n_layer(solver="cg", dataset="spirals"),
    "validation": n_layer(lambda: drawn(held_out="validation"), held_out="validation"),
    "a file in other units, standardised as it is loaded": from_file(other_units),
    "two layers": two_layer(),
    "swings, cut off within one": by_flags(two_layer_relu, "--epochs", "20"),
    "swings, cut off after three steps": by_flags(two_layer_relu, "--epochs", "3"),
    "swings that have ceased": by_flags(two_layer_relu),
    "two steps": n_layer(lambda: load_dataset("higgs-like:20000"), **TWO_STEPS),
    "two layers, regression": two_layer(dataset="regression"),
    "Adam": bench(optimizer="adam", lr=3e-3),
    "Adam, strokes": bench(flat_strokes, optimizer="adam", lr=3e-3),
    "gradient descent": bench(dataset="regression", lr=0.05),
}


def warnings(record, series):
    return [finding for finding in advise(record, series) if finding.severity == "warning"]


def names(record, series):
    return [finding.name for finding in warnings(record, series)]


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("fault", TRAINED)
def test_a_faulty_run_is_diagnosed(fault, tmp_path, monkeypatch):
    make, expected, flag = TRAINED[fault]
    record, series = make(tmp_path, monkeypatch)
    found = warnings(record, series)
    assert [finding.name for finding in found] == expected
    assert found[0].flag == flag
    assert bool(found[0].words) == (flag is None)
    for finding in advise(record, series):
        assert finding.cause or finding.severity == "hint"
        if finding.flag:
            name, value = accepted(finding.flag, record)
            assert value != record["config"][name], "it changes nothing"


def accepted(flag, record):
    """The name and the value of a flag, as the script that was run takes it."""
    script = Path(record["script"]).relative_to(ROOT).with_suffix("")
    words = shlex.split(flag)
    config = tyro.cli(importlib.import_module(".".join(script.parts)).Config, args=words)
    name = words[0].removeprefix("--").replace("-", "_")
    value = getattr(config, name)
    return name, list(value) if isinstance(value, tuple) else value


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("run", SOUND)
def test_a_sound_run_draws_no_warning(run, tmp_path, monkeypatch):
    assert warnings(*SOUND[run](tmp_path, monkeypatch)) == []


def test_published_runs_draw_no_warning(tracked):
    folders = [(ROOT / name).parent for name in tracked if name.endswith("/epoch.npy")]
    found = {folder.name: warnings(read_record(folder), read_series(folder)) for folder in folders}
    assert found
    assert {tag: of for tag, of in found.items() if of} == {}


RECORD = {
    "status": "completed",
    "config": {"epochs": 4, "step_size": 0.1, "lambda_w_layers": [3.0, 0.1], "seed": 0},
    "data": {"held_out": "test", "num_classes": 2, "chance_accuracy": 0.5},
}


def series(**arrays):
    sound = {
        "epoch": np.arange(1, 5),
        "train_loss": np.array([0.6, 0.4, 0.3, 0.29]),
        "test_loss": np.array([0.6, 0.45, 0.4, 0.4]),
        "train_accuracy": np.array([0.6, 0.8, 0.9, 0.9]),
        "test_accuracy": np.array([0.6, 0.75, 0.8, 0.8]),
        "layer_norms": np.array([[5.0, 5], [5.5, 5], [6, 5], [6, 5.5]]),
        "residual_passed": np.tile([0.0, 1.2], (4, 1)),
        "dead_share": np.zeros((4, 2)),
        "gram_condition": np.full((4, 2), 50.0),
        "cg_iterations": np.zeros((4, 2)),
        "cg_residuals": np.zeros((4, 2)),
        "predicted_step_decrease": np.full(4, 0.02),
        "actual_step_decrease": np.full(4, 0.015),
        "damping": np.ones(4),
        "step_bound": np.full(4, 0.01),
        "residual_taken": np.full((4, 2), 0.05),
    }
    return sound | {name: np.array(values) for name, values in arrays.items()}


CONSTRUCTED = {  # what is wrong, the first warning, and what its evidence names
    "a weight that runs away": (
        {"layer_norms": [[5.0, 5], [20, 5], [60, 5], [90, 5]]},
        "Exploding weights",
        "layer 1 went from 5 to 90",
    ),
    "solves that stall": ({"stalled_solves": [0, 2, 0, 1]}, GRAM, "3 solves by conjugate"),
    "steps taken back": ({"steps_taken_back": [3, 0, 1, 0]}, "Steps taken back", "4 steps of 4"),
    "a binary score turned round": ({"test_auc": [0.4, 0.3, 0.25, 0.2]}, CHANCE, "AUC is 0.2000"),
    "a loss that jumps in the end": (
        {"train_loss": [0.6, 0.4, 0.3, 0.9]},
        LARGE,
        "from 0.3 at epoch 3 to 0.9 at epoch 4",
    ),
    "an infinite norm": (
        {"layer_norms": [[5.0, 5], [5, 5], [5, np.inf], [5, np.inf]]},
        "Divergence",
        "`layer_norms` of layer 2 is not finite at epoch 3",
    ),
    "weights thrown about": (
        {
            "train_loss": [0.69, 0.68, 0.69, 0.68],
            "train_accuracy": [0.5, 0.51, 0.5, 0.52],
            "layer_norms": [[5.0, 5], [6, 5], [5, 5], [7, 5]],
        },
        LARGE,
        "a weight norm changed by 40%",
    ),
    "units that die on the way": (
        {"dead_share": [[0.0, 0], [0.5, 0], [0.8, 0], [0.9, 0]]},
        DEAD,
        "90% of the units of layer 1 are zero in every row looked at, since epoch 3",
    ),
}


@pytest.mark.parametrize("fault", CONSTRUCTED)
def test_a_constructed_fault_is_diagnosed_alone(fault):
    arrays, name, evidence = CONSTRUCTED[fault]
    assert warnings(RECORD, series()) == []
    (found,) = warnings(RECORD, series(**arrays))
    assert found.name == name
    assert evidence in found.seen


@pytest.mark.parametrize(
    ("accuracy", "name"), [(0.505, "Hardly above chance"), (0.5, CHANCE), (0.4, CHANCE)]
)
def test_an_accuracy_about_chance_is_called_what_it_is(accuracy, name):
    assert names(RECORD, series(test_accuracy=[0.5, 0.5, 0.5, accuracy])) == [name]
    at_first = {"test_accuracy": [accuracy] * 4, "train_accuracy": [0.5, 0.5, 0.5, 0.55]}
    assert names(RECORD, series(**at_first)) == [name]


@pytest.mark.parametrize(
    ("losses", "end"), [([0.6, 0.4, 0.5, 0.3], "came back"), ([0.6, 0.3, 0.4, 0.36], "ended 20%")]
)
def test_a_spike_is_a_hint(losses, end):
    found = advise(RECORD, series(train_loss=losses))
    assert (found[0].name, found[0].severity) == ("A spike", "hint")
    assert end in found[0].seen


def swinging(*heights, ends):
    """Losses that fall by a tenth each time they have been so high above 1; and the end."""
    pairs = [(0.9**k, 0.9**k + height) for k, height in enumerate(heights)]
    losses = [*np.ravel(pairs), *ends]
    flat = {name: [value[-1]] * len(losses) for name, value in series().items()}
    return series(**flat | {"epoch": np.arange(1, len(losses) + 1), "train_loss": losses})


def test_swings_that_come_back_are_a_hint():
    found = advise(RECORD, swinging(9, 6, 4, ends=[0.5]))
    assert (found[0].name, found[0].severity) == ("A loss that swings", "hint")
    assert "3 times" in found[0].seen
    assert found[0].flag == "--step-size 0.05"


def test_the_last_of_ever_smaller_swings_is_no_warning_but_a_higher_or_longer_one_is():
    cut_off = advise(RECORD, swinging(9, 6, 4, ends=[]))
    assert (cut_off[0].name, cut_off[0].severity) == ("A loss that swings", "hint")
    assert "amid the last one" in cut_off[0].seen
    assert cut_off[0].flag == "--epochs 8"
    assert names(RECORD, swinging(9, 6, 7, ends=[])) == [LARGE]
    assert names(RECORD, swinging(9, 6, 4, ends=[3])) == [LARGE]


def test_a_loss_that_falls_all_the_time_is_not_of_too_large_steps():
    """However high it began."""
    numbers = series(train_loss=[2.4, 2.2, 2.0, 1.8], train_accuracy=[0.5, 0.5, 0.51, 0.51])
    assert names(RECORD, numbers) == []
    assert names(RECORD, numbers | {"train_loss": np.array([1.8, 1.7, 1.9, 1.8])}) == [LARGE]


def test_a_run_of_an_experiment_has_no_flags_of_its_own_and_other_seeds_beside_it():
    record = RECORD | {"config": RECORD["config"] | {"variation": "ours"}}
    (found,) = advise(record, series(train_loss=[0.6, 0.4, 0.3, 0.9]))
    assert (found.name, found.flag) == (LARGE, None)


def in_batches_of(size):
    config = RECORD["config"] | {"batch_size": size}
    return RECORD | {"config": config, "data": RECORD["data"] | {"counts": {"train": 1000}}}


@pytest.mark.parametrize("losses", [[0.6, 0.4, 0.3, 0.9], [0.8, 0.9, 0.7, 0.75]])
def test_a_handful_of_steps_is_no_ground_for_a_verdict(losses):
    """Losses that rise far above their best, or stay above that of a constant answer."""
    arrays = series(train_loss=losses)
    for steps in (4, 16):
        found = advise(in_batches_of(1000 * 4 // steps), arrays)
        assert {one.severity for one in found} == {"hint"}
        few = next(one for one in found if one.name == "Few steps")
        assert f"{steps} in all" in few.seen
    assert few.flag == "--epochs 8"
    assert names(in_batches_of(200), arrays) == [LARGE], "20 steps"
    assert names(in_batches_of("full"), series(train_loss=[0.6, 9, 99, 999])) == [LARGE]


def test_a_failure_points_to_the_log():
    found = warnings(RECORD | {"status": "failed", "error": "RuntimeError: boom"}, {})
    assert [one.name for one in found] == ["Failure"]
    assert "RuntimeError: boom" in found[0].seen


def test_a_run_that_recorded_little_is_judged_by_that_alone():
    few = {name: series()[name] for name in ("epoch", "train_loss", "test_loss", "layer_norms")}
    assert warnings({}, few) == []
    assert names({}, few | {"train_loss": np.array([0.6, np.nan, 1, 1])}) == ["Divergence"]
    assert advise({}, {}) == []


def test_a_flag_that_the_script_lacks_is_not_suggested():
    arrays = series(train_loss=[0.6, 0.4, 0.3, 0.9])
    (found,) = warnings(RECORD | {"config": {}}, arrays)
    assert found.flag is None
    assert "Try" not in found.sentence
    left_open = {"config": {"lr": None}, "settings": {"lr": 0.08}}
    assert warnings(RECORD | left_open, arrays)[0].flag == "--lr 0.04"


@pytest.mark.parametrize(
    ("state", "name", "flag"),
    [
        ({"status": "interrupted"}, "Interrupted", None),
        ({"git": {"dirty": True}}, "Uncommitted changes", None),
        ({}, "One seed", "--seed 1"),
    ],
)
def test_how_a_run_ended_is_a_hint(state, name, flag):
    found = {one.name: one for one in advise(RECORD | state, series())}
    assert found[name].severity == "hint"
    assert found[name].flag == flag


def test_a_run_over_several_seeds_is_not_asked_for_another():
    for repeats, told in ((1, ["One seed"]), (10, [])):
        record = RECORD | {"config": RECORD["config"] | {"repeats": repeats}}
        assert [one.name for one in advise(record, series())] == told


def test_validation_asks_for_one_test():
    numbers = series()
    for quantity in ("loss", "accuracy"):
        numbers[f"validation_{quantity}"] = numbers.pop(f"test_{quantity}")
    record = RECORD | {"config": {"held_out": "validation"}}
    assert "--held-out test" in [one.flag for one in advise(record, numbers)]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1e308, -1.0])
def test_no_number_breaks_a_rule(value):
    spoilt = {name: np.full(array.shape, value) for name, array in series().items()}
    spoilt["epoch"] = np.arange(1, 5)
    for finding in advise(RECORD, spoilt):
        assert finding.sentence
