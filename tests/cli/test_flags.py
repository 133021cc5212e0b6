import math
from dataclasses import dataclass
from typing import Literal

import pytest

from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import (
    BatchSize,
    CommonFlags,
    ExperimentFlags,
    Fraction,
    NetworkFlags,
    PenaltyFlags,
    PositiveFloat,
    parse,
    per_layer,
)


@dataclass(frozen=True, kw_only=True)
class Config(PenaltyFlags, CommonFlags):
    epochs: int = 3
    lambda_w_layers: tuple[float, ...] = (10.0, 1.0)
    lambda_h_layers: tuple[float, ...] = (math.inf,)
    lr: PositiveFloat = 0.1
    """Step size."""
    momentum: Fraction = 0.9
    """Share of the last step that is kept."""


def read(*arguments):
    return parse(Config, "A script.", list(arguments))


def test_values_are_read_as_written():
    config = read("--lambda-w-layers", "10", "1", "0.1", "--lambda-h-layers", "inf", "2")
    assert config.lambda_w_layers == (10.0, 1.0, 0.1)
    assert config.lambda_h_layers == (math.inf, 2.0)
    assert config.epochs == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["--target", "a", "--target", "b"],
        ["--drop=a", "--epochs", "2", "--drop", "b", "c"],
        ["--track", "tensorboard", "--track", "mlflow"],
    ],
)
def test_a_list_of_words_begun_twice_is_refused(arguments):
    flag = arguments[0].partition("=")[0]
    with pytest.raises(UserError, match=f"{flag} is given 2 times"):
        read(*arguments)


def test_of_numbers_given_twice_the_last_count():
    config = read("--lambda-w-layers", "3", "--epochs", "2", "--lambda-w-layers", "4", "5")
    assert config.lambda_w_layers == (4.0, 5.0)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--epochs", "0"),
        ("--batch-size", "-1"),
        ("--hidden-dim", "0"),
        ("--num-layers", "0"),
        ("--train-limit", "0"),
        ("--test-limit", "-5"),
        ("--threads", "0"),
        ("--seed", "-1"),
        ("--lr", "nan"),
        ("--lr", "inf"),
        ("--lr", "0"),
        ("--lr", "-0.5"),
        ("--momentum", "1"),
        ("--momentum", "nan"),
        ("--lambda-w-layers", "-1"),
        ("--lambda-w-layers", "inf"),
        ("--lambda-h-layers", "0"),
        ("--lambda-h-layers", "nan"),
        ("--tag", "../../x"),
    ],
)
def test_a_value_out_of_range_is_refused_in_one_line_that_names_the_flag(flag, value):
    with pytest.raises(UserError) as caught:
        read(flag, value)
    message = str(caught.value)
    assert message.startswith(flag)
    assert "\n" not in message


def test_every_value_of_a_list_is_checked():
    with pytest.raises(UserError, match=r"--lambda-w-layers nan"):
        read("--lambda-w-layers", "1", "nan")


def test_a_default_set_by_the_script_keeps_the_rule_of_the_common_flag():
    assert Config.__annotations__["epochs"] is int
    with pytest.raises(UserError, match="--epochs 0"):
        read("--epochs", "0")


@pytest.mark.parametrize("arguments", [["--lamb", "3"], ["--epochs", "1.5"], ["--held-out", "x"]])
def test_an_unknown_or_malformed_flag_ends_with_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        read(*arguments)
    assert caught.value.code == 2


def test_help_explains_every_flag(capsys):
    with pytest.raises(SystemExit):
        read("--help")
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Units in each hidden layer. (default: 512)" in text
    assert "Use the first N training samples only. (default: all)" in text
    assert "--no-overwrite" not in text
    assert text.index("--dataset") < text.index("--lambda-w-layers")


def test_a_batch_larger_than_the_data_is_refused():
    assert read("--train-limit", "5", "--batch-size", "5").batch_size == 5
    with pytest.raises(UserError, match=r"--batch-size 6 .* 5 training samples"):
        read("--train-limit", "5", "--batch-size", "6")
    with pytest.raises(UserError, match="--batch-size 128"):
        read("--train-limit", "100")


def test_per_layer_expands_one_value_and_names_both_counts_otherwise():
    assert per_layer((2.0,), 3, "--x") == (2.0, 2.0, 2.0)
    assert per_layer((1.0, 2.0), 2, "--x") == (1.0, 2.0)
    for values in ((), (1.0, 2.0), (1.0,) * 4):
        with pytest.raises(UserError, match=f"--x has {len(values)} values for 3 layers"):
            per_layer(values, 3, "--x")


@dataclass(frozen=True, kw_only=True)
class PresetConfig(PenaltyFlags, CommonFlags):
    preset: Literal["small", "large"] = "small"
    """Where the defaults come from."""
    epochs: int = 1
    batch_size: BatchSize = 128
    lambda_w_layers: tuple[float, ...] = (1.0,)
    lambda_h_layers: tuple[float, ...] = (math.inf,)
    warm: bool = False


PRESETS = {
    "small": PresetConfig(),
    "large": PresetConfig(
        preset="large", epochs=9, batch_size="full", lambda_w_layers=(2.0, 3.0), warm=True
    ),
}


def read_preset(*arguments):
    return parse(PresetConfig, "A script.", list(arguments), presets=PRESETS)


def test_without_a_preset_the_first_one_counts():
    assert read_preset() == PRESETS["small"]


@pytest.mark.parametrize("arguments", [["--preset", "large"], ["--preset=large"]])
def test_preset_sets_every_default(arguments):
    assert read_preset(*arguments) == PRESETS["large"]


@pytest.mark.parametrize("first", [True, False])
def test_flag_beside_a_preset_wins_wherever_it_stands(first):
    preset = ["--preset", "large"]
    flags = ["--epochs", "2", "--lambda-w-layers", "5", "--batch-size", "7"]
    config = read_preset(*(preset + flags if first else flags + preset))
    assert (config.preset, config.epochs, config.batch_size) == ("large", 2, 7)
    assert config.lambda_w_layers == (5.0,)
    assert config.warm


@pytest.mark.parametrize("arguments", [["--preset", "medium"], ["--preset"], ["--preset", ""]])
def test_unknown_preset_ends_with_status_2_and_names_the_known_ones(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        read_preset(*arguments)
    assert caught.value.code == 2
    told = "".join(capsys.readouterr())
    assert "preset" in told


def test_values_beside_a_preset_are_checked():
    with pytest.raises(UserError, match="--lambda-w-layers -1"):
        read_preset("--preset", "large", "--lambda-w-layers", "-1")


def test_help_shows_the_defaults_of_the_preset(capsys):
    with pytest.raises(SystemExit):
        read_preset("--preset", "large", "--help")
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "(default: 9)" in text


def test_batch_may_be_full_or_a_number():
    assert read_preset("--batch-size", "full").batch_size == "full"
    assert read_preset("--batch-size", "full", "--train-limit", "3").batch_size == "full"
    assert read_preset("--batch-size", "12").batch_size == 12
    with pytest.raises(UserError, match="--batch-size 0"):
        read_preset("--batch-size", "0")
    with pytest.raises(UserError, match=r"--batch-size 12 .* 11 training samples"):
        read_preset("--batch-size", "12", "--train-limit", "11")


@pytest.mark.parametrize("value", ["ful", "1.5"])
def test_any_other_batch_is_refused(value, capsys):
    with pytest.raises(SystemExit) as caught:
        read_preset("--batch-size", value)
    assert caught.value.code == 2
    told = "".join(capsys.readouterr())
    assert f"'{value}'" in told
    assert "full" in told
    assert "lambda" not in told


def test_the_arguments_of_the_loader_are_those_that_the_flags_name():
    config = read("--dataset", "higgs", "--seed", "3", "--held-out", "validation")
    assert config.data_arguments() == {
        "name": "higgs",
        "data_dir": None,
        "train_limit": None,
        "test_limit": None,
        "held_out": "validation",
        "seed": 3,
        "batch_size": 128,
        "target": (),
        "task": None,
        "missing": "refuse",
        "drop": (),
    }
    table = read("--target", "a", "b c", "--drop", "d", "--task", "regression").data_arguments()
    assert (table["target"], table["drop"], table["task"]) == (("a", "b c"), ("d",), "regression")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(PenaltyFlags, NetworkFlags):
    epochs: int = 1
    lambda_w_layers: tuple[float, ...] = (1.0,)
    lambda_h_layers: tuple[float, ...] = (math.inf,)


def read_network(*arguments):
    return parse(NetworkConfig, "A script.", list(arguments))


@pytest.mark.parametrize(
    ("arguments", "widths"),
    [
        ([], (512,)),
        (["--num-layers", "4", "--hidden-dim", "8"], (8, 8, 8)),
        (["--num-layers", "1"], ()),
        (["--widths", "16", "8"], (16, 8)),
        (["--widths", "5", "--num-layers", "9", "--hidden-dim", "7"], (5,)),
    ],
)
def test_hidden_layers_are_alike_or_each_as_wide_as_it_is_given(arguments, widths):
    assert read_network(*arguments).hidden_widths == widths


@pytest.mark.parametrize("widths", [["0"], ["16", "-1", "8"]])
def test_every_width_is_checked(widths):
    with pytest.raises(UserError, match=r"--widths (0|-1) is not allowed: give a whole number"):
        read_network("--widths", *widths)


def test_help_lists_the_networks_flags_before_the_methods(capsys):
    with pytest.raises(SystemExit):
        read_network("--help")
    text = capsys.readouterr().out
    assert text.index("--dataset") < text.index("--widths") < text.index("--lambda-w-layers")


def read_experiment(*arguments):
    return parse(ExperimentFlags, "An experiment.", list(arguments))


def test_what_an_experiment_defines_is_left_to_it_unless_given():
    config = read_experiment()
    assert (config.tag, config.runs, config.workers) == (None, None, 1)
    config = read_experiment("--runs", "3", "--tag", "a.b")
    assert (config.tag, config.runs) == ("a.b", 3)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        *(("--runs", "0"), ("--workers", "0"), ("--workers", "100000")),
        *(("--threads", "0"), ("--tag", "a/b")),
    ],
)
def test_flags_of_an_experiment_are_checked(flag, value):
    with pytest.raises(UserError) as refusal:
        read_experiment(flag, value)
    assert str(refusal.value).startswith(flag)


def test_help_of_an_experiment_says_where_its_defaults_come_from(capsys):
    with pytest.raises(SystemExit):
        read_experiment("--help")
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "the first N seeds of the definition. (default: as defined)" in text
    assert "--seed" not in text  # each run has its own
    assert "(default: the experiment's)" in text
