"""Experiments as short .toml files in new_algorithm/experiments/: what is compared, and on what.

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
from typing import Any

from new_algorithm.cli.errors import UserError
from new_algorithm.methods.method import Method, Settings
from new_algorithm.methods.registry import METHODS

FOLDER = Path(__file__).resolve().parent

METRICS = ("accuracy", "auc", "loss")  # on the held-out rows; of the loss less is better


@dataclass(frozen=True)
class Task:
    """A data set, a network and the cost of a run.

    widths: units of each hidden layer. metrics: the first one decides, on the validation rows in a
    search and on the test rows in the end. cpu_seconds: training time of a run, which determines
    its epochs; or `epochs` directly.
    """

    name: str
    dataset: str
    widths: tuple[int, ...]
    metrics: tuple[str, ...] = ("accuracy",)
    cpu_seconds: float | None = None
    epochs: int | None = None
    train_limit: int | None = None


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
    seeds: tuple[int, ...]
    trials: int = 0
    lambda_map: str | None = None
    paper: Paper | None = None
    caveats: tuple[str, ...] = ()


def load_experiment(name: str, folder: Path = FOLDER) -> Experiment:
    """Read <name>.toml in `folder` or a folder in it, or at the path `name`.

    UserError names the file, the entry that is wrong and what it could be.
    """
    path = definition_path(name, folder)
    return experiment_from(path.stem, read_toml(path))


def definition_path(name: str, folder: Path) -> Path:
    """Return the file that `name` stands for; UserError if there is none."""
    known = {path.stem: path for path in sorted(folder.rglob("*.toml"))}
    if name in known:
        return known[name]
    if name.endswith(".toml") and Path(name).is_file():
        return Path(name)
    near = difflib.get_close_matches(name.removesuffix(".toml"), known) or list(known)
    raise UserError(f"no definition {name!r}: give {' or '.join(near)}, or the path of a .toml")


def read_toml(path: Path) -> dict[str, Any]:
    """Return the entries; UserError with the line that is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name}: {error}: mend that line") from error


def experiment_from(name: str, entries: Mapping[str, Any]) -> Experiment:
    """Return the experiment that the entries of a file define."""
    known = {field.name for field in fields(Experiment)} - {"name"}
    check_names(name, entries, known | {"methods", "components_of"})
    if "components_of" in entries:
        entries = _ablation(name, entries)
    for needed in ("hypothesis", "baseline", "tasks", "seeds"):
        if needed not in entries:
            raise UserError(f"{name}: {needed} is missing")
    seeds = entries["seeds"]
    seeds = tuple(range(seeds) if isinstance(seeds, int) else seeds)
    variations = [Variation(_method(name, key).name, key) for key in entries.get("methods", ())]
    variations += [
        _build(name, Variation, key, given) for key, given in entries.get("variations", {}).items()
    ]
    experiment = Experiment(
        name=name,
        hypothesis=entries["hypothesis"],
        baseline=entries["baseline"],
        tasks=tuple(_task(name, key, given) for key, given in entries["tasks"].items()),
        variations=tuple(variations),
        seeds=seeds,
        trials=entries.get("trials", 0),
        lambda_map=entries.get("lambda_map"),
        paper=_build(name, Paper, "paper", entries["paper"]) if "paper" in entries else None,
        caveats=tuple(entries.get("caveats", ())),
    )
    check_experiment(experiment)
    return experiment


def check_experiment(experiment: Experiment) -> None:
    """UserError unless every part of the definition makes sense."""
    name, seeds = experiment.name, experiment.seeds
    if not seeds or len(set(seeds)) < len(seeds) or any(not isinstance(s, int) for s in seeds):
        raise UserError(f"{name}: seeds: give each one once, and at least one")
    if not isinstance(experiment.trials, int) or experiment.trials < 0:
        raise UserError(f"{name}: trials {experiment.trials!r}: give 0 or more")
    for task in experiment.tasks:
        _check_task(name, task)
    names = [variation.name for variation in experiment.variations]
    twice = {one for one in names if names.count(one) > 1}
    if twice or not names:
        raise UserError(f"{name}: {' and '.join(sorted(twice)) or 'no method'}: name each one once")
    if experiment.baseline not in names:
        raise UserError(
            f"{name}: baseline {experiment.baseline!r} is none of {', '.join(map(repr, names))}"
        )
    for variation in experiment.variations:
        method = _method(name, variation.method)
        known = {*method.defaults, *(key for part in method.components.values() for key in part)}
        check_names(f"{name}: {variation.name}", variation.settings, known)


def check_names(where: str, given: Mapping[str, Any], known: set[str]) -> None:
    """UserError for an entry that nothing knows."""
    for entry in given:
        if entry not in known:
            near = difflib.get_close_matches(entry, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
            raise UserError(f"{where}: unknown entry {entry!r}: {hint}")


def _check_task(name: str, task: Task) -> None:
    where = f"{name}: task {task.name!r}"
    is_list = isinstance(task.widths, tuple) and task.widths
    if not is_list or any(not isinstance(width, int) or width < 1 for width in task.widths):
        raise UserError(
            f'{where}: widths: give the units of each hidden layer, as [512, 256] or "8 × 64"'
        )
    limit = task.train_limit
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise UserError(f"{where}: train_limit {limit!r}: give a number of rows")
    if not task.metrics or set(task.metrics) - set(METRICS):
        raise UserError(f"{where}: metrics are {', '.join(METRICS)}, at least one")
    costs = [cost for cost in (task.cpu_seconds, task.epochs) if cost is not None]
    if len(costs) != 1 or not isinstance(costs[0], int | float) or costs[0] <= 0:
        raise UserError(f"{where}: give either cpu_seconds or epochs, above 0")


def _ablation(name: str, entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries with a variation for the whole method and for each of its components."""
    key = entries["components_of"]
    method = _method(name, key)
    if not method.components:
        able = ", ".join(key for key, method in METHODS.items() if method.components)
        raise UserError(f"{name}: {key!r} names no components: choose among {able}")
    changed: dict[str, Settings] = {method.name: {}, **method.components}
    variations = {
        part: {"method": key, "settings": settings, "searched": False}
        for part, settings in changed.items()
    }
    rest = {entry: value for entry, value in entries.items() if entry != "components_of"}
    return rest | {"baseline": method.name, "variations": variations}


def _method(name: str, key: str) -> Method:
    if key not in METHODS:
        near = difflib.get_close_matches(key, METHODS) or list(METHODS)
        raise UserError(f"{name}: no method {key!r}: choose {' or '.join(near)}")
    return METHODS[key]


def _task(name: str, key: str, given: Mapping[str, Any]) -> Task:
    """Return a task; widths may be written "layers × units"."""
    alike = re.fullmatch(r"(\d+) *[x×] *(\d+)", str(given.get("widths")))
    if alike:
        layers, units = map(int, alike.groups())
        given = {**given, "widths": [units] * layers}
    return _build(name, Task, key, given)


def _build(name: str, kind: type, key: str, given: Mapping[str, Any]) -> Any:
    """Return a part of an experiment, named `key` if it has a name."""
    entries = {field.name for field in fields(kind)}
    check_names(f"{name}: {key}", given, entries - {"name"})
    values = {entry: tuple(v) if isinstance(v, list) else v for entry, v in given.items()}
    if "name" in entries:
        values["name"] = key
    try:
        return kind(**values)
    except TypeError as error:
        missing = str(error).rpartition("argument")[2].lstrip("s: ")
        raise UserError(f"{name}: {key}: {missing} is missing") from error


def slug(name: str) -> str:
    """Return `name` in the characters that tags may have."""
    return re.sub(r"[^A-Za-z0-9-]+", "_", name.replace("×", "x")).strip("_")
