"""Experiments as short .toml files in definitions/: what is compared, and on what.

hypothesis = "A sentence that the result can contradict."
baseline = "back projection"            # what the others are compared with
methods = ["back_projection", "adam"]   # names of methods/registry.py, all settings searched
trials = 16                             # of each search; 0 takes the methods' defaults
seeds = 10                              # 0 to 9, or a list
lambda_map = "bench_lambda_map"         # optional: the tag of a λ map for the report

[tasks."MNIST, 8 × 64"]
dataset = "mnist"
widths = "8 × 64"                       # hidden layers; or a list, [512, 256]
metrics = ["accuracy"]                  # the first decides
cpu_seconds = 2.0                       # of training a run; or epochs = 5

[tasks."plain CNN, CIFAR-10"]
model = "cnn"                           # in place of data set and widths: one of models/model.py
epochs = 3
parts = 4                               # optional: an epoch is a quarter of the training rows

[variations."Adam as it comes"]         # optional: a method under a name of its own,
method = "adam"                         # with settings that are fixed
settings = { lr = 1e-3, batch_size = 128 }
searched = false                        # the other settings are the defaults, not searched

components_of = "back_projection"       # in place of methods and variations: an ablation, of the
                                        # method and of each variation with one component changed
"""

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from datasets import Dataset
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import NonNegativeInt, PositiveFloat, PositiveInt, Seed
from new_algorithm.experiments.entries import (
    WANTED,
    check_names,
    is_plain,
    read_entries,
    read_value,
    unfit,
)
from new_algorithm.methods.method import Method, Problem, Settings
from new_algorithm.methods.registry import METHODS
from new_algorithm.models.model import MODELS

FOLDER = Path(__file__).parent / "definitions"

Metric = Literal["accuracy", "auc", "loss"]  # on the held-out rows; of the loss less is better


@dataclass(frozen=True)
class Task:
    """A data set, a network and the cost of a run.

    widths: units of each hidden layer. model: in place of both, a name of MODELS. metrics: the
    first one decides, on the validation rows in a search and on the test rows in the end.
    cpu_seconds: training time of a run, which determines its epochs; or `epochs` directly. parts:
    of a pass over the training rows, each of which counts as an epoch of a model.
    """

    name: str
    dataset: str | None = None
    widths: Annotated[
        tuple[PositiveInt, ...], 'the units of each hidden layer, as [512, 256] or "8 × 64"'
    ] = ()
    metrics: Annotated[tuple[Metric, ...], "a list of accuracy, auc, loss, or of some of them"] = (
        "accuracy",
    )
    cpu_seconds: PositiveFloat | None = None
    epochs: PositiveInt | None = None
    train_limit: PositiveInt | None = None
    model: Literal[tuple(MODELS)] | None = None  # type: ignore[valid-type]
    parts: PositiveInt = 1

    @property
    def data_name(self) -> str:
        """What is trained on, in words."""
        return self.dataset or f"of the {MODELS[self.model or ''].name}"

    def problem(self, data: Dataset, epochs: int, seed: int, threads: int) -> Problem:
        """Return what a method is given."""
        model = MODELS[self.model] if self.model else None
        return Problem(data, self.widths, epochs, seed, threads, model=model, parts=self.parts)


@dataclass(frozen=True)
class Variation:
    """A method under a name of its own, with some of its settings fixed.

    method: a key of METHODS. searched: whether the other settings are searched, or the defaults.
    """

    name: str
    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    searched: bool = True


@dataclass(frozen=True)
class Paper:
    """What a paper reports, to be reproduced: value ± tolerance of the task's first metric.

    source: where in the paper the value stands. deviations: what is done differently here.
    """

    citation: str
    source: str
    value: float
    tolerance: float
    deviations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """hypothesis: a sentence that the result can contradict. baseline: the variation that the
    others are compared with. trials: settings that each method may try on the validation rows, 0
    for its defaults. lambda_map: tag of a run of measure.py lambda-map, for the report. paper:
    compared with the baseline's result on the first task. caveats: sentences for the report on
    what a sceptical reader should know."""

    name: str
    hypothesis: str
    baseline: str
    tasks: tuple[Task, ...]
    variations: tuple[Variation, ...]
    seeds: Annotated[tuple[Seed, ...], "how many, or a list of different ones"]
    trials: NonNegativeInt = 0
    lambda_map: str | None = None
    paper: Paper | None = None
    caveats: tuple[str, ...] = ()

    @property
    def is_ablation(self) -> bool:
        """Whether the variations are one method, with parts of it removed or swapped."""
        return len({variation.method for variation in self.variations}) == 1 < len(self.variations)


def load_experiment(name: str, folder: Path = FOLDER) -> Experiment:
    """Read <name>.toml in `folder` or a folder in it, or at the path `name`.

    UserError names the file, the entry that is wrong and what it could be.
    """
    known = {path.stem: path for path in sorted(folder.rglob("*.toml"))}
    path = known.get(name, Path(name))
    if path.suffix != ".toml" or not path.is_file():
        near = difflib.get_close_matches(name.removesuffix(".toml"), known) or list(known)
        raise UserError(f"no definition {name!r}: give {' or '.join(near)}, or the path of a .toml")
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name}: {error}: mend that line") from error
    return experiment_from(path.stem, entries)


def experiment_from(name: str, entries: Mapping[str, Any]) -> Experiment:
    """Return the experiment that the entries of the file <name>.toml define."""
    where, given = f"{name}.toml", dict(entries)
    own = {field.name for field in fields(Experiment)} - {"name"}
    check_names(where, given, own | {"methods", "components_of"})
    methods = read_value(tuple[str, ...], given.pop("methods", []), f"{where}: methods")
    variations = [Variation(_method(where, key).name, key) for key in methods]
    if "components_of" in given:
        parts = _ablation(where, given.pop("components_of"))
        variations, given["baseline"] = parts + variations, parts[0].name
    tables = {
        part: read_value(dict, given.pop(part, {}), f"{where}: {part}")
        for part in ("variations", "tasks")
    }
    for key, table in tables["variations"].items():
        variations.append(read_entries(Variation, table, f"{where}: {key}", name=key))
    known: dict[str, Any] = {"name": name, "variations": tuple(variations)}
    if tables["tasks"]:
        known["tasks"] = tuple(_task(where, *task) for task in tables["tasks"].items())
    if type(seeds := given.get("seeds")) is int and seeds > 0:
        given["seeds"] = list(range(seeds))
    experiment = read_entries(Experiment, given, where, **known)
    check_experiment(experiment)
    return experiment


def check_experiment(experiment: Experiment) -> None:
    """UserError unless the parts of the definition, each sound by itself, make sense together."""
    where, seeds = f"{experiment.name}.toml", experiment.seeds
    if len(set(seeds)) < len(seeds):
        raise UserError(f"{where}: seeds: give each one once")
    for task in experiment.tasks:
        if (task.cpu_seconds is None) == (task.epochs is None):
            raise UserError(f"{where}: {task.name}: give either cpu_seconds or epochs")
        given = [bool(task.dataset), bool(task.widths), task.model is None]
        if len(set(given)) > 1:
            raise UserError(f"{where}: {task.name}: give dataset and widths, or a model")
        if task.parts > 1 and task.model is None:
            raise UserError(f"{where}: {task.name}: parts: only an epoch of a model is divided")
    names = [variation.name for variation in experiment.variations]
    twice = {one for one in names if names.count(one) > 1}
    if twice or not names:
        said = " and ".join(sorted(twice)) or "no method"
        raise UserError(f"{where}: {said}: name each one once")
    if experiment.baseline not in names:
        raise UserError(
            f"{where}: baseline {experiment.baseline!r} is none of {', '.join(map(repr, names))}"
        )
    for variation in experiment.variations:
        method = _method(where, variation.method)
        if not method.any_model and (own := [t.name for t in experiment.tasks if t.model]):
            raise UserError(f"{where}: {own[0]}: {method.name} trains ReLU networks alone")
        _check_settings(f"{where}: {variation.name}", variation, _method(where, variation.method))


def _check_settings(where: str, variation: Variation, method: Method) -> None:
    """UserError for a setting that the method does not have, or of a type that it never has."""
    examples = [method.defaults, *method.components.values()]
    check_names(where, variation.settings, {name for part in examples for name in part})
    for name, value in variation.settings.items():
        known = [part[name] for part in examples if name in part]
        known += getattr(method.space.get(name), "values", ())
        kinds = {type(one) for one in known}
        if not any(is_plain(kind, value) for kind in kinds):
            wanted = " or ".join(sorted(WANTED[kind] for kind in kinds))
            raise unfit(f"{where}: {name}", value, wanted)


def _ablation(where: str, key: Any) -> list[Variation]:
    """Return a variation for the whole method, and one for each of its components."""
    method = _method(where, key)
    if not method.components:
        able = ", ".join(key for key, method in METHODS.items() if method.components)
        raise UserError(f"{where}: {key!r} names no components: choose among {able}")
    changed: dict[str, Settings] = {method.name: {}, **method.components}
    return [Variation(part, key, settings, False) for part, settings in changed.items()]


def _method(where: str, key: Any) -> Method:
    if read_value(str, key, f"{where}: method") not in METHODS:
        near = difflib.get_close_matches(key, METHODS) or list(METHODS)
        raise UserError(f"{where}: no method {key!r}: choose {' or '.join(near)}")
    return METHODS[key]


def _task(where: str, name: str, table: Any) -> Task:
    """Return a task; widths may be written "layers × units"."""
    widths = str(table.get("widths")) if isinstance(table, dict) else ""
    if alike := re.fullmatch(r"(\d+) *[x×] *(\d+)", widths):
        layers, units = map(int, alike.groups())
        table = {**table, "widths": [units] * layers or widths}
    return read_entries(Task, table, f"{where}: {name}", name=name)


LONGEST_PART = 40  # of a tag, for task and variation


def tag_part(name: str) -> str:
    """Return what stands for a task or a variation in tags and files."""
    return slug(name)[:LONGEST_PART]


def slug(name: str) -> str:
    """Return `name` in the characters that tags may have."""
    return re.sub(r"[^A-Za-z0-9-]+", "_", name.replace("×", "x")).strip("_")
