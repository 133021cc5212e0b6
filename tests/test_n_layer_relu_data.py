"""The training loop in this process: every option takes part, and trouble ends in order."""

import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from datasets import Dataset, load_dataset
from new_algorithm.back_projection import optimizer
from new_algorithm.back_projection.losses import SOFTMAX
from new_algorithm.back_projection.network import append_ones, forward
from new_algorithm.back_projection.step_control import LossWatch
from new_algorithm.cli.errors import DivergedError, UserError
from new_algorithm.cli.flags import CommonFlags
from new_algorithm.cli.ranks import Ranks
from new_algorithm.methods.back_projection_settings import PRESETS
from new_algorithm.methods.back_projection_training import Training
from new_algorithm.methods.chunks import chunk_rows_in_force
from new_algorithm.n_layer_relu_data import (
    Config,
    in_force,
    read_config,
    train_and_record,
    with_data_set,
)
from tests.recorder import Recorder

ROWS = 1_000


def trained(data=None, held_out="test", **flags):
    config = Config(**{"num_layers": 3, "hidden_dim": 16, "epochs": 2, "batch_size": 64} | flags)
    if data is None:
        data = load_dataset("synthetic", train_limit=600, held_out=held_out)
    return recorded(config, data)


def recorded(config, data, run=None):
    config, run = in_force(config, len(data.x_train)), run or Recorder()
    train_and_record(config, data, chunk_rows_in_force(config, data, Ranks()), run, Ranks())
    return run


def sound(run):
    """A run that met no trouble."""
    assert run.anomalies == []
    assert all(np.isfinite(layer).all() for layer in run.weights)
    return run


OPTIONS = {
    "default": {},
    "seed": {"seed": 1},
    "epochs": {"epochs": 3},
    "batch": {"batch_size": 32},
    "full batch": {"batch_size": "full"},
    "layers": {"num_layers": 4},
    "hidden": {"hidden_dim": 15},
    "widths": {"widths": (16, 12)},
    "float64": {"dtype": "float64"},
    "lambda_w of layer 1": {"lambda_w_layers": (1.0, 0.1, 0.1)},
    "lambda_w of layer 2": {"lambda_w_layers": (3.0, 1.0, 0.1)},
    "lambda_w of layer 3": {"lambda_w_layers": (3.0, 0.1, 1.0)},
    "lambda_h of layer 2": {"lambda_h_layers": (1.0, 2.0, np.inf)},
    "lambda_h of layer 3": {"lambda_h_layers": (1.0, np.inf, 2.0)},
    "lambda_h of layer 1": {"lambda_h_layers": (0.5, np.inf, np.inf)},
    "passed down": {"lambda_h_layers": (1.0, 2.0, np.inf), "hidden_penalty": "passed-down"},
    "absolute": {"absolute_penalties": True},
    "project": {"target": "project"},
    "sequential": {"order": "sequential"},
    "left": {"pass_down": "left"},
    "input rank": {"input_rank": 5},
    "chunks": {"chunk_rows": 16},
    "no average": {"gram_average": 0.0},
    "longer average": {"gram_average": 0.99},
    "cg": {"solver": "cg"},
    "more iterations": {"solver": "cg", "cg_iterations": 4},
    "loose tolerance": {"solver": "cg", "cg_tolerance": 0.5},
    "warm start": {"solver": "cg", "warm_start": True},
    "preconditioner": {"solver": "cg", "precondition": True},
    "fixed step": {"step_size": 0.1},
    "longer steps": {"step_bounds": (1e-2, 2e-2)},
    "steps that may not grow": {"step_bounds": (1e-3, 1e-3)},
    "rarely judged": {"judge_every": 7},
    "momentum": {"momentum": 0.5},
    "heavy ball": {"outer": "momentum"},
    "adam": {"outer": "adam"},
    "orthogonal": {"outer": "orthogonal"},
    "orthogonal with a right factor": {"outer": "orthogonal", "lambda_h_layers": (1.0,)},
    "constant": {"schedule": "constant"},
    "longer warm-up": {"warm_up": 0.5},
    "weight decay": {"weight_decay": 0.1},
    "label smoothing": {"label_smoothing": 0.1},
    "decoupled decay": {"decoupled_decay": 0.01},
    "held out": {"held_out": "validation", "seed": 2},
}
# what names a set of the others, prints, waits, or decides when to save
INERT = {"preset", "verbose", "rank_timeout", "resume", "checkpoint_minutes"}


def test_every_option_changes_the_result():
    losses = {name: sound(trained(**flags)).loss for name, flags in OPTIONS.items()}
    assert np.isfinite(list(losses.values())).all()
    assert len(set(losses.values())) == len(losses), losses


def test_no_option_is_missing_above():
    of_the_data_and_the_record = {field.name for field in fields(CommonFlags)}
    named = {name for flags in OPTIONS.values() for name in flags} | INERT
    assert {field.name for field in fields(Config)} <= named | of_the_data_and_the_record


@pytest.mark.parametrize(
    "flags",
    [
        {"lambda_h_layers": (0.1, np.inf, np.inf), "hidden_penalty": "passed-down"},
        {"lambda_h_layers": (0.1,), "hidden_penalty": "none"},
        {"cg_iterations": 9, "cg_tolerance": 0.5, "warm_start": True, "precondition": True},
        {"widths": (16, 16), "num_layers": 7, "hidden_dim": 5},
        {"preset": "two-layer"},
        {"verbose": True},
    ],
)
def test_documented_to_be_inert(flags, capsys):
    assert trained(**flags).loss == trained().loss


def test_same_seed_gives_the_same_bits():
    for flags in ({}, {"solver": "cg", "precondition": True, "order": "sequential"}):
        first, second = trained(**flags), trained(**flags)
        for a, b in zip(first.weights, second.weights, strict=True):
            np.testing.assert_array_equal(a, b)
        assert first.epochs[-1]["train"] == second.epochs[-1]["train"]


def test_precision_is_the_one_asked_for():
    single, double = trained(), trained(dtype="float64")
    assert {layer.dtype for layer in single.weights} == {np.dtype(np.float32)}
    assert {layer.dtype for layer in double.weights} == {np.dtype(np.float64)}
    assert single.loss == pytest.approx(double.loss, rel=1e-2)


def test_full_batch_is_a_batch_of_every_row_and_trains():
    everything, named = trained(batch_size=600, epochs=30), trained(batch_size="full", epochs=30)
    assert named.loss == everything.loss
    assert sound(named).loss < 0.4


@pytest.mark.parametrize("lambda_h", [2.0, np.inf])
def test_solved_to_the_end_cg_is_the_exact_solver(lambda_h):
    common = {"dtype": "float64", "gram_average": 0.0, "lambda_h_layers": (lambda_h,)}
    exact = trained(**common)
    cg = trained(solver="cg", cg_iterations=2_000, cg_tolerance=1e-12, **common)
    for a, b in zip(cg.weights, exact.weights, strict=True):
        assert np.linalg.norm(a - b) < 1e-6 * np.linalg.norm(b)


@pytest.mark.parametrize("depth", [1, 2, 16, 32])
def test_defaults_stay_finite_at_any_depth(depth):
    run = sound(trained(num_layers=depth, hidden_dim=32, epochs=3))
    losses = [epoch["train"].loss for epoch in run.epochs]
    assert losses[-1] < losses[0]


def test_faithful_preset_trains():
    data = load_dataset("synthetic", train_limit=600)
    run = recorded(
        Config(**PRESETS["faithful"] | {"num_layers": 3, "hidden_dim": 16, "epochs": 10}), data
    )
    assert sound(run).loss < run.epochs[0]["train"].loss


@pytest.fixture
def damaged(monkeypatch):
    """damaged(iteration, factor): the weights are multiplied after that step."""

    def damage(iteration, factor):
        undamaged = optimizer.BackProjection._move

        def move(self, layer=None):
            undamaged(self, layer)
            if self.iteration == iteration:
                self._parameters.scale(factor)

        monkeypatch.setattr(optimizer.BackProjection, "_move", move)

    return damage


def test_saved_weights_are_those_of_the_last_epoch_on_the_data_itself(damaged, monkeypatch):
    data = load_dataset("synthetic", train_limit=600)
    damaged(iteration=35, factor=3.0)  # of 36
    monkeypatch.setattr(LossWatch, "accepts", lambda *_: True)
    run = trained(data, epochs=4, input_rank=6, step_size=0.1)
    assert [layer.shape for layer in run.weights] == [(21, 16), (17, 16), (17, 4)]
    assert run.results["input_rank"] == 6
    assert 0.2 < run.results["input_explained_share"] < 0.9
    losses = [epoch["train"].loss for epoch in run.epochs]
    assert losses[3] > losses[2]
    saved = SOFTMAX.value(forward(run.weights, append_ones(data.x_train))[1], data.y_train)
    assert saved == pytest.approx(losses[3], rel=1e-3)


def test_absolute_penalty_of_layer_1_is_in_the_units_of_its_gram():
    data = load_dataset("synthetic", train_limit=600)
    mean = float(np.square(append_ones(data.x_train)).mean(axis=0).mean())
    one = {"num_layers": 1, "dtype": "float64"}
    relative = trained(data, lambda_w_layers=(2.0,), **one)
    absolute = trained(data, lambda_w_layers=(2.0 * mean,), absolute_penalties=True, **one)
    unscaled = trained(data, lambda_w_layers=(2.0,), absolute_penalties=True, **one)
    assert absolute.loss == pytest.approx(relative.loss, rel=1e-6)
    assert unscaled.loss != pytest.approx(relative.loss, rel=1e-6)


def test_record_has_every_layer_and_decreases_that_were_judged():
    numbers = trained(solver="cg").epochs[-1]
    for name in ("change_norms", "residual_taken", "gram_condition", "cg_iterations"):
        assert len(numbers[name]) == 3
    assert numbers["predicted_step_decrease"] > 0
    assert numbers["steps_taken_back"] == 0
    assert numbers["damping"] == 1.0
    assert 1 <= numbers["cg_iterations"][1] <= 3
    assert numbers["cg_iterations"][0] == 0, "layer 1 is solved in the eigenbasis"


def test_verbose_prints_the_layers(capsys):
    trained(epochs=1, verbose=True)
    told = capsys.readouterr().out
    assert "gram condition" in told
    assert len(told.strip().splitlines()) >= 4


# Trouble.

WILD = [
    {},
    {"dtype": "float64"},
    {"solver": "cg"},
    {"solver": "cg", "gram_average": 0.0, "warm_start": True},
    {"gram_average": 0.0},
    {"lambda_h_layers": (1.0,)},
    {"order": "sequential"},
    {"batch_size": 16},
    {"batch_size": "full"},
    {"target": "project"},
]


def ended_in_order(data, **flags):
    """The run, and what its DivergedError said, if anything; both name what went wrong."""
    settings = {"num_layers": 12, "hidden_dim": 16, "epochs": 5, "batch_size": 64} | flags
    run, diverged = Recorder(), []
    try:
        recorded(Config(**settings), data, run)
    except DivergedError as error:
        diverged.append(str(error))
    assert all(np.isfinite(layer).all() for layer in run.weights)
    assert all(np.isfinite(epoch["train"].loss) for epoch in run.epochs)
    for text in [*run.anomalies, *diverged]:
        assert "layer" in text
        assert "iteration" in text
    return run, diverged


@pytest.mark.parametrize("step_size", [1.0, 1e6])
@pytest.mark.parametrize("flags", WILD, ids=lambda flags: "-".join(map(str, flags)) or "default")
def test_step_that_is_far_too_long_ends_in_order(flags, step_size):
    data = load_dataset("synthetic", train_limit=600)
    run, diverged = ended_in_order(data, step_size=step_size, **flags)
    assert step_size == 1.0 or run.anomalies or diverged


@pytest.mark.parametrize(
    ("iteration", "factor"),
    [
        (80, 3.0),  # a judged one
        (80, 1e30),
        (78, 1e30),
        (78, 3.0),
        (79, 3.0),
        (79, 1e30),  # the last one before a judged one
    ],
)
def test_damage_done_in_one_iteration_is_undone(iteration, factor, damaged):
    damaged(iteration, factor)
    run = trained(num_layers=4, epochs=6, batch_size=16)
    assert run.loss < run.epochs[1]["train"].loss
    assert sum(epoch["steps_taken_back"] for epoch in run.epochs) == 1


def small_data(features=5, rows=200, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, features)).astype(np.float32)
    y = (x[:, :classes]).argmax(axis=1)
    return replace(
        load_dataset("synthetic", train_limit=1),
        x_train=x,
        y_train=y,
        x_test=x[:50],
        y_test=y[:50],
        num_classes=classes,
    )


def degenerate(kind: str) -> Dataset:
    data = small_data()
    x = data.x_train.copy()
    if kind == "zero":
        x[:] = 0
    elif kind == "constant":
        x[:] = 1
    elif kind == "some constant":
        x[:, 3:] = 0
    elif kind == "duplicated rows":
        x[:] = x[0]
    elif kind == "duplicated features":
        x[:, 4] = x[:, 0]
    return replace(data, x_train=x, x_test=x[:50])


KINDS = ["zero", "constant", "some constant", "duplicated rows", "duplicated features"]


@pytest.mark.parametrize("solver", ["exact", "cg"])
@pytest.mark.parametrize("kind", KINDS)
def test_degenerate_data_are_trained_on(kind, solver):
    data = degenerate(kind)
    run = sound(trained(data, solver=solver, batch_size=50))
    shares = np.bincount(data.y_train) / len(data.y_train)
    assert run.loss < -(shares * np.log(shares)).sum() + 1


@pytest.mark.parametrize("solver", ["exact", "cg"])
@pytest.mark.parametrize("kind", KINDS)
def test_degenerate_data_without_a_penalty_end_in_order(kind, solver):
    flags = {"num_layers": 3, "epochs": 2, "batch_size": 50, "lambda_w_layers": (0.0,)}
    ended_in_order(degenerate(kind), solver=solver, **flags)


@pytest.mark.parametrize("solver", ["exact", "cg"])
def test_batches_of_one_row_are_trained_on(solver):
    run = trained(small_data(rows=60), batch_size=1, epochs=1, solver=solver)
    assert np.isfinite(run.loss)
    assert all(np.isfinite(layer).all() for layer in run.weights)


def test_one_training_row_is_learnt():
    run = trained(small_data(rows=1), batch_size=1, epochs=30)
    assert run.loss < 0.5


# Data of one's own.


def save_npz(folder: Path, task: str) -> str:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 6))
    y = {
        "regression": np.column_stack([np.abs(x[:, 0]), x[:, 1] * 3 + 5]),
        "binary": (np.abs(x[:, 0]) + x[:, 1] > 0.7).astype(int),
    }[task]
    path = folder / f"{task}.npz"
    np.savez(path, x_train=x[:400], y_train=y[:400], x_test=x[400:], y_test=y[400:])
    return str(path)


@pytest.mark.parametrize("depth", [2, 5])
def test_regression_beats_the_mean(depth, tmp_path):
    data = load_dataset(save_npz(tmp_path, "regression"))
    run = sound(trained(data, epochs=15, num_layers=depth, batch_size=40))
    scores = run.epochs[-1]["held_out"]
    assert scores.accuracy is None
    assert scores.auc is None
    assert scores.loss < 0.3 * 0.5 * np.square(data.y_test).sum() / len(data.y_test)
    assert run.loss < 0.3


@pytest.mark.parametrize("depth", [2, 5])
def test_two_classes_beat_the_larger_one(depth, tmp_path):
    data = load_dataset(save_npz(tmp_path, "binary"))
    run = trained(data, epochs=15, num_layers=depth, batch_size=40)
    assert run.weights[-1].shape[1] == 1
    scores = run.epochs[-1]["held_out"]
    assert scores.auc > 0.8
    share = data.y_test.mean()
    assert scores.loss < 0.8 * -(share * np.log(share) + (1 - share) * np.log(1 - share))
    assert scores.accuracy > max(share, 1 - share) + 0.2


# Flags.


@pytest.mark.parametrize("flag", ["lambda_w_layers", "lambda_h_layers"])
def test_lists_of_the_wrong_length_are_refused_with_both_counts(flag):
    config = Config(num_layers=4, **{flag: (1.0, 2.0, 3.0)})
    words = f"--{flag.replace('_', '-')} has 3 values for 4 layers: give 1 or 4"
    with pytest.raises(UserError, match=words):
        in_force(config, ROWS)
    with pytest.raises(UserError, match="has 3 values for 6 layers"):
        in_force(replace(config, widths=(5, 5, 5, 5, 5)), ROWS)


def test_penalties_of_each_layer():
    config = in_force(Config(num_layers=4), ROWS)
    assert config.lambda_w_layers == (3.0, 0.3, 0.3, 0.3)
    assert config.lambda_h_layers == (np.inf,) * 4
    flags = {"lambda_w_layers": (2.0,), "lambda_h_layers": (1.0, 2.0, 3.0)}
    one = in_force(Config(num_layers=3, **flags), ROWS)
    assert (one.lambda_w_layers, one.lambda_h_layers) == ((2.0,) * 3, (1.0, 2.0, 3.0))
    assert in_force(Config(widths=(7,)), ROWS).lambda_h_layers == (np.inf, np.inf)


def test_step_bounds_out_of_order_are_refused():
    in_force(Config(step_bounds=(0.1, 0.1)), ROWS)
    with pytest.raises(UserError, match=r"--step-bounds 0.2 0.1: .* smaller one first"):
        in_force(Config(step_bounds=(0.2, 0.1)), ROWS)


def test_passing_down_asks_for_a_penalty_to_pass_down():
    in_force(Config(hidden_penalty="passed-down", lambda_h_layers=(10.0,)), ROWS)
    for given in ({}, {"lambda_h_layers": (np.inf,)}):
        with pytest.raises(UserError, match="passed-down without a finite --lambda-h-layers"):
            in_force(Config(hidden_penalty="passed-down", **given), ROWS)


def test_depth_follows_the_widths():
    assert in_force(Config(num_layers=7), ROWS).num_layers == 7
    bottleneck = Config(widths=(64, 16, 64))
    assert in_force(bottleneck, ROWS).target == "revive"
    assert in_force(bottleneck, ROWS, in_chunks=True).target == "mask"
    assert in_force(Config(num_layers=7, widths=(3, 4)), ROWS).num_layers == 3


def test_step_bounds_are_inert_beside_a_fixed_step():
    fixed = {"step_size": 0.1}
    assert trained(**fixed, step_bounds=(0.5, 0.7)).loss == trained(**fixed).loss


def test_higgs_is_taken_where_its_file_is(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("BACK_PROJECTION_DATASETS", str(tmp_path))
    assert with_data_set(Config(data_dir=tmp_path)).dataset == "mnist"
    assert "MNIST (no HIGGS.csv is at hand" in capsys.readouterr().out
    for name in ("HIGGS.csv", "HIGGS.csv.gz"):
        (tmp_path / name).write_text("1,2\n")
        assert with_data_set(Config()).dataset == "higgs"
        assert "HIGGS (its file is at hand" in capsys.readouterr().out
        (tmp_path / name).unlink()


def test_sample_of_higgs_is_not_taken_for_it(tmp_path, capsys):
    (tmp_path / "HIGGS_sample_11k.csv.gz").write_bytes(b"")
    assert with_data_set(Config(data_dir=tmp_path)).dataset == "mnist"
    assert "--dataset names another" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "preset", "widths", "epochs"),
    [
        ([], "higgs", (256, 256), 6),
        (["--epochs", "2"], "higgs", (256, 256), 2),
        (["--widths", "9", "8"], "higgs", (9, 8), 6),
        (["--preset", "deep"], "deep", (64,) * 8, 5),
        (["--num-layers", "21"], "higgs", (256,) * 20, 6),
        (["--dataset", "mnist"], "deep", (64,) * 8, 5),
        (["--dataset", "higgs"], "higgs", (256, 256), 6),
    ],
)
def test_the_preset_follows_the_data(flags, preset, widths, epochs, tmp_path, monkeypatch):
    """As the script reads its command line where HIGGS is at hand."""
    (tmp_path / "HIGGS.csv").write_text("1,2\n")
    monkeypatch.setenv("BACK_PROJECTION_DATASETS", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["n_layer_relu_data.py", *flags])
    config = read_config()
    assert (config.preset, config.hidden_widths, config.epochs) == (preset, widths, epochs)
    assert config.dataset == ("mnist" if "mnist" in flags else "higgs")


def test_data_set_that_is_named_is_kept_in_silence(tmp_path, capsys):
    (tmp_path / "HIGGS.csv").write_text("1,2\n")
    config = Config(dataset="synthetic", data_dir=tmp_path)
    assert with_data_set(config) is config
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_settings_in_force_for_their_layers(name):
    config = in_force(Config(preset=name, **PRESETS[name]), ROWS)
    assert len(config.lambda_w_layers) == len(config.lambda_h_layers) == config.num_layers


def test_steps_that_are_always_taken_back_end_the_training(monkeypatch):
    monkeypatch.setattr(LossWatch, "accepts", lambda *_: False)
    with pytest.raises(DivergedError, match=r"epoch 4: 36 steps in a row .* iteration 35, layer"):
        trained(batch_size=64, epochs=9)  # 9 steps an epoch, each judged; the cap is 30


def test_every_layer_learns_again_after_an_explosion_is_undone(damaged):
    """What the solvers remember of the bad weights goes with them."""
    damaged(77, 1e3)
    run = trained(num_layers=4, epochs=6, batch_size=16)
    assert sum(epoch["steps_taken_back"] for epoch in run.epochs) == 1
    assert min(run.epochs[-1]["change_norms"]) > 1e-3


def test_recording_does_not_change_what_is_recorded(monkeypatch):
    flags = {"solver": "cg", "warm_start": True, "cg_iterations": 2}
    with_diagnostics = trained(**flags).loss
    monkeypatch.setattr(Training, "diagnose", lambda *_: {})
    assert trained(**flags).loss == with_diagnostics
