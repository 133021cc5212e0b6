"""Command-line flags as frozen dataclasses, checked before any data is loaded."""

import argparse
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

import tyro

from new_algorithm.cli.device import Device
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.repeated import refuse_repeated
from new_algorithm.cli.threads import usable_cores

ConfigT = TypeVar("ConfigT")
LONGEST_TAG = 100
# what Windows takes for a device, with any ending
DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)),
}
INDICES = {"readme.md", "local_runs.md"}  # lie beside the folders that tags name


@dataclass(frozen=True)
class Rule:
    """What a flag's value must satisfy; put it into the field's Annotated type."""

    demand: str
    holds: Callable[[float], bool]


CORES = usable_cores()
PositiveInt = Annotated[int, Rule("a whole number of at least 1", lambda v: v >= 1)]
NonNegativeInt = Annotated[int, Rule("a whole number of at least 0", lambda v: v >= 0)]
BatchSize = Annotated[
    int | Literal["full"], Rule("a whole number of at least 1, or full", lambda v: v >= 1)
]
Seed = Annotated[int, Rule("a whole number from 0 to 2**63 - 1", lambda v: 0 <= v < 2**63)]
Threads = Annotated[
    int, Rule(f"1 to {CORES}, the cores that this process may use", lambda v: 1 <= v <= CORES)
]
PositiveFloat = Annotated[float, Rule("a finite number above 0", lambda v: 0 < v < math.inf)]
Fraction = Annotated[float, Rule("a number from 0 up to but not including 1", lambda v: 0 <= v < 1)]
NonNegativeFloat = Annotated[
    float, Rule("finite numbers of at least 0", lambda v: 0 <= v < math.inf)
]
PositiveOrInfinite = Annotated[float, Rule("numbers above 0, `inf` included", lambda v: v > 0)]


def default_as(words: str, **of_flag: Any) -> Any:
    """What --help says of a default that is found later; put it into the Annotated type.

    of_flag: what else tyro.conf.arg is to know of the flag, such as its metavar.
    """
    return tyro.conf.arg(help_behavior_hint=f"(default: {words})", **of_flag)


Limit = Annotated[PositiveInt | None, default_as("all", metavar="N")]


@dataclass(frozen=True, kw_only=True)
class RunFlags:
    """The flags of every script that leaves a record; `class Config(…, RunFlags)` lists them."""

    seed: Seed = 0
    """Seed of everything that is drawn at random."""
    threads: Threads = 1
    """Threads for BLAS and OpenMP."""
    tag: Annotated[str | None, default_as("script and date", metavar="NAME")] = None
    """Name of the run: its record, figures and log are filed under it."""
    overwrite: bool = False
    """Replace the record and figures of an earlier run with the same tag."""


@dataclass(frozen=True, kw_only=True)
class TrainingFlags(RunFlags):
    """The flags of every script that trains a network."""

    profile: bool = False
    """Record where time and memory go, over some steps; slows them."""
    track: Annotated[
        tuple[Literal["tensorboard", "mlflow"], ...], tyro.conf.arg(help_behavior_hint="")
    ] = ()
    """Mirror every recorded number there too; ./starter --extras installs both."""


@dataclass(frozen=True, kw_only=True)
class CommonFlags(TrainingFlags):
    """The flags of every script that trains on a data set, which sets their defaults."""

    dataset: Annotated[str, tyro.conf.arg(metavar="NAME")] = "mnist"
    """mnist, mnist-autoencoder, mnist1d, higgs, higgs-like:ROWS, synthetic, regression, spirals,
    table:NAME, a public table, or a file of your own, .csv, .tsv, .csv.gz, .parquet or .npz."""
    target_columns: Annotated[
        tuple[str, ...], tyro.conf.arg(name="target", metavar="COLUMN ...", help_behavior_hint="")
    ] = ()
    """Of a table: the column to learn, classes or numbers; several are a regression of as many
    outputs, or classes written one-hot."""
    task: Annotated[Literal["classification", "regression"] | None, default_as("found out")] = None
    """Of a file: texts and whole numbers are classes, other numbers quantities, unless this says
    otherwise."""
    missing: Literal["refuse", "median"] = "refuse"
    """Of a table: what to do where features lack values. The median of the training rows is filled
    in, and a further feature says where."""
    drop: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="COLUMN ...", help_behavior_hint="")
    ] = ()
    """Of a table: columns to leave out, such as names, identifiers, what gives the target away."""
    data_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    """Where the data lie; else $BACK_PROJECTION_DATASETS, then datasets/, for MNIST and the public
    tables a download."""
    train_limit: Limit = None
    """Use the first N training samples only."""
    test_limit: Limit = None
    """Use the first N test samples only."""
    held_out: Literal["test", "validation"] = "test"
    """What to evaluate on. Choose hyper-parameters on validation, a sixth of train."""
    hidden_dim: PositiveInt = 512
    """Units in each hidden layer."""
    num_layers: PositiveInt = 2
    """Weight layers, the output layer included."""
    epochs: PositiveInt
    """Passes over the training set."""
    batch_size: PositiveInt = 128
    """Samples in a mini-batch; as many as there are to train on makes it full batch."""
    check: bool = False
    """Check flags and data, try some steps, print what a run would take, and leave no record."""

    def data_arguments(self) -> dict[str, Any]:
        """Return the arguments of `load_dataset` that the flags name."""
        names = (
            *("data_dir", "train_limit", "test_limit", "held_out", "seed", "batch_size"),
            *("task", "missing", "drop"),
        )
        own = {name: getattr(self, name) for name in names}
        return {"name": self.dataset, "target": self.target_columns, **own}


@dataclass(frozen=True, kw_only=True)
class TorchFlags(TrainingFlags):
    """The flags of every script whose networks are PyTorch's own, with data of several kinds."""

    data_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    """Where the data lie; else $BACK_PROJECTION_DATASETS, then datasets/."""
    held_out: Literal["test", "validation"] = "test"
    """What to evaluate on. Choose settings on validation."""
    device: Device = "cpu"
    """Where to compute. On a graphics card a run is faster, and its bits may differ."""


@dataclass(frozen=True, kw_only=True)
class ExperimentFlags(RunFlags):
    """The flags of every script that carries out an experiment of many runs, each with its seed."""

    seed: tyro.conf.Suppress[int] = 0
    tag: Annotated[str | None, default_as("the experiment's", metavar="NAME")] = None
    """Name of the experiment's record; with the same one it goes on where it was cut short."""
    runs: Annotated[PositiveInt | None, default_as("as defined", metavar="N")] = None
    """Runs of each method: the first N seeds of the definition."""
    workers: Threads = 1
    """Processes that share the runs. Times are fair as long as each has a core to itself."""


@dataclass(frozen=True, kw_only=True)
class NetworkFlags(CommonFlags):
    """The flags of a script that trains networks of any depth."""

    widths: tuple[PositiveInt, ...] = ()
    """Units of each hidden layer, in place of --num-layers and --hidden-dim."""

    @property
    def hidden_widths(self) -> tuple[int, ...]:
        return self.widths or (self.hidden_dim,) * (self.num_layers - 1)


@dataclass(frozen=True, kw_only=True)
class PenaltyFlags:
    """The penalties of back projection, one a layer from the input on, or one for all layers.

    `class Config(PenaltyFlags, NetworkFlags)` lists the network's flags first in --help.
    """

    lambda_w_layers: tuple[NonNegativeFloat, ...]
    """Penalty on weight changes, one a layer or one for all, per mean eigenvalue of H̃ᵀH̃/n."""
    lambda_h_layers: tuple[PositiveOrInfinite, ...]
    """Penalty on input changes, per mean eigenvalue of WᵀW; may be inf. Layer 1 ignores its own."""


def parse(
    config_type: type[ConfigT],
    description: str,
    args: list[str] | None = None,
    presets: Mapping[str, ConfigT] | Mapping[str | None, ConfigT] | None = None,
) -> ConfigT:
    """Read the command line into a `config_type` and check it.

    presets: what the flags default to under `--preset NAME`, without that flag those of None or
    the first ones.
    UserError for a value out of range, or a list of words given twice; an unknown or malformed flag
    ends the program with status 2 and a suggestion.
    """
    words = sys.argv[1:] if args is None else args
    refuse_repeated(config_type, words)
    options: dict[str, Any] = {"description": description, "args": args}
    if presets:
        finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        finder.add_argument("--preset")
        given = [arg for arg in words if arg]
        name = finder.parse_known_args(given)[0].preset
        first = next(iter(presets.values()))
        options["default"] = presets.get(name, first)  # an unknown name is refused by tyro
    config = tyro.cli(config_type, config=(tyro.conf.FlagCreatePairsOff,), **options)
    check_values(config)
    return config


def check_values(config: Any) -> None:
    """UserError unless every field of the dataclass obeys the rules of its type.

    A rule stands even where a subclass repeats the field with a plain type to set a default.
    """
    for kind in type(config).__mro__[:-1]:
        for name, hint in get_type_hints(kind, include_extras=True).items():
            value, flag = getattr(config, name), "--" + name.replace("_", "-")
            values = value if isinstance(value, tuple) else (value,)
            numbers = [number for number in values if number not in (None, "full")]
            for rule in _rules(hint):
                if refused := [number for number in numbers if not rule.holds(number)]:
                    raise UserError(f"{flag} {refused[0]} is not allowed: give {rule.demand}")
    if isinstance(config, RunFlags) and config.tag is not None:
        validate_tag(config.tag)
    if isinstance(config, CommonFlags):
        size, rows = config.batch_size, config.train_limit
        if rows is not None and isinstance(size, int) and size > rows:
            raise UserError(
                f"--batch-size {size} is more than the {rows} training samples: give at most {rows}"
            )


def _rules(hint: Any) -> Iterator[Rule]:
    for argument in get_args(hint):
        if isinstance(argument, Rule):
            yield argument
        else:
            yield from _rules(argument)


def validate_tag(tag: str, flag: str = "--tag") -> None:
    """UserError unless `tag` is a safe folder name of 1 to 100 characters."""
    shown = repr(tag if len(tag) <= LONGEST_TAG else tag[:20] + "...")
    if not 1 <= len(tag) <= LONGEST_TAG:
        raise UserError(
            f"{flag} {shown} has {len(tag)} characters: give a name of 1 to {LONGEST_TAG}"
        )
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", tag):
        raise UserError(
            f"{flag} {shown} is not allowed: use letters, digits, '.', '_' and '-', "
            "and start with a letter, a digit or '_'"
        )
    if tag.endswith(".") or tag.split(".")[0].lower() in DEVICES:
        raise UserError(
            f"{flag} {shown} is no name of a folder on every system: choose another one"
        )
    if tag.lower() in INDICES:
        raise UserError(f"{flag} {shown} is the name of an index of runs: choose another")


def per_layer(values: tuple[float, ...], num_layers: int, flag: str) -> tuple[float, ...]:
    """One value for each layer; a single value serves all. UserError names both counts."""
    if len(values) == 1:
        return tuple(values) * num_layers
    if len(values) != num_layers:
        raise UserError(
            f"{flag} has {len(values)} values for {num_layers} layers: give 1 or {num_layers}"
        )
    return tuple(values)
