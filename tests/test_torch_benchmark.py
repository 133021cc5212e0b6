"""Models in PyTorch as a user trains them: settings, refusals, and what a run leaves behind."""

from typing import get_args, get_type_hints

import numpy as np
import pytest

from new_algorithm import torch_benchmark
from new_algorithm.cli.errors import UserError
from new_algorithm.methods.optimizer_flags import OPTIMIZERS
from new_algorithm.methods.registry import METHODS
from new_algorithm.models.model import MODELS
from new_algorithm.torch_benchmark import Config
from tests.processes import assert_one_clear_line
from tests.real_data import MNIST_FOLDER, needs_mnist

SCRIPT = "new_algorithm/torch_benchmark.py"


@pytest.mark.parametrize(("flag", "table"), [("optimizer", OPTIMIZERS), ("model", MODELS)])
def test_every_optimizer_and_model_can_be_chosen(flag, table):
    assert get_args(get_type_hints(Config)[flag]) == tuple(table)


def test_settings_are_the_optimizers_own_but_for_those_given():
    for optimizer, method in OPTIMIZERS.items():
        assert Config(optimizer=optimizer).settings == METHODS[method].defaults
        config = Config(optimizer=optimizer, lr=0.5, momentum=0.25)
        assert config.settings == METHODS[method].defaults | {"lr": 0.5, "momentum": 0.25}
    given = Config(lambda_w=7.0, outer="trust", weight_decay=0.1).settings
    assert (given["lambda_w"], given["outer"], given["weight_decay"]) == (7.0, "trust", 0.1)
    assert Config(head="rest").settings["head"] == "rest"
    assert Config(optimizer="muon", adam_lr=0.5).settings["adam_lr"] == 0.5
    assert Config(optimizer="soap", largest_side=512).settings["largest_side"] == 512


@pytest.mark.parametrize(
    ("setting", "value"),
    [("lambda_w", 0.5), ("outer", "adam"), ("largest_side", 64), ("head", "rest")],
)
def test_a_setting_that_the_optimizer_does_not_have_is_refused(setting, value):
    config = Config(optimizer="muon", **{setting: value})
    with pytest.raises(UserError, match=f"--{setting.replace('_', '-')} is no setting of muon"):
        config.settings  # noqa: B018


def test_data_that_are_not_there_are_named_before_anything_is_written(
    work_tree, run_script, tmp_path
):
    finished = run_script(SCRIPT, "--model", "cnn", "--data-dir", tmp_path, "--tag", "no_images")
    assert_one_clear_line(finished, "no CIFAR-10", "--data-dir")
    assert not (work_tree / "ploting_data" / "no_images").exists()


@needs_mnist
def test_a_run_leaves_its_record_and_the_same_seed_the_same_bytes(work_tree, run_script):
    flags = ("--model", "autoencoder", "--train-limit", 1000, "--epochs", 3, "--seed", 3)
    for tag in (tags := ("first_model", "second_model")):
        finished = run_script(SCRIPT, *flags, "--data-dir", MNIST_FOLDER, "--tag", tag)
        assert finished.returncode == 0, finished.stderr
        lines = [line for line in finished.stdout.splitlines() if line.startswith("Epoch")]
        assert [line.split(":")[0] for line in lines] == [f"Epoch {n}" for n in range(1, 4)]
    first, second = (work_tree / "ploting_data" / tag for tag in tags)
    losses = np.load(first / "train_loss.npy")
    assert losses[-1] < losses[0] < 784 * np.log(2) * 1.1  # that of guessing every pixel
    for name in ("train_loss.npy", "test_loss.npy", "layer_norms.npy", "metrics_log.csv"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert (work_tree / "figures" / tags[0] / "loss.png").exists()


def test_every_optimizer_that_trains_models_is_offered():
    offered = set(OPTIMIZERS.values())
    able = {name for name, method in METHODS.items() if method.any_model}
    included = {"sgd", "adam"}  # in momentum and AdamW
    of_the_leaderboard = {name for name in able if name.startswith("adaptive_momentum")}
    assert offered == able - included - of_the_leaderboard
    assert torch_benchmark.__doc__.count("--optimizer") >= 2
