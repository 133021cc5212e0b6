"""Experiments as short .toml files in definitions/: what is compared, and on what.

hypothesis = "A sentence that the result can contradict."
baseline = "back projection"            # what the others are compared with
methods = ["back_projection", "adam"]   # names of methods/registry.py, all settings searched
trials = 16                             # of each search; 0 takes the methods' defaults
seeds = 10                              # 0 to 9, or a list
lambda_map = "bench_lambda_map"         # optional: the tag of a λ map for the report

[tasks."MNIST, 8 × 64"]
dataset = "mnist"                       # any name of datasets/load.py: "mnist-autoencoder", …
widths = "8 × 64"                       # hidden layers; or a list, [512, 256]
metrics = ["accuracy"]                  # the first decides; of an autoencoder ["squared_error"]
cpu_seconds = 2.0                       # of training a run; or epochs = 5
batch_size = 512                        # optional: of all methods, in place of their own; as many
                                        # as there are rows, or more, is the full batch
parts = 4                               # optional: an epoch is a quarter of a pass over the rows,
                                        # but of methods whose epochs are whole (methods/method.py)
label_smoothing = 0.1                   # optional: of what is trained towards, not of what is
                                        # scored; not of methods that fit losses of their own

[tasks."plain CNN, CIFAR-10"]
model = "cnn"                           # in place of data set and widths: one of models/model.py
epochs = 3

[variations."Adam as it comes"]         # optional: a method under a name of its own,
method = "adam"                         # with settings that are fixed
settings = { lr = 1e-3, batch_size = 128 }
searched = false                        # the other settings are the defaults, not searched

components_of = "back_projection"       # in place of methods and variations: an ablation, of the
                                        # method and of each variation with one component changed

Or all tasks name a script, and all variations have flags for it:

baseline = "MAML"
ablation = true                         # optional: the others are the baseline but for a part

[tasks."sinusoids, 5 shots"]
script = "new_algorithm/meta_learning.py"
flags = ["--task", "sinusoids", "--shots", "5"]
metrics = ["loss"]                      # final metrics of its record, without test_ and units; less
                                        # is better of bits, errors, losses, mse, nats, …
[variations."MAML"]
flags = ["--learner", "maml"]           # of a flag given twice the last one counts
vary = ["inner-rate=1e-3..1e-1"]        # optional: searched, written as for search_settings.py

Every trial and run is a run of the script. The experiment gives --seed, --held-out, --threads and
--tag; trials are on validation rows, with a seed that is none of the runs'.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from new_algorithm.cli.errors import UserError
from new_algorithm.experiments.definition_checks import check_experiment, find_method
from new_algorithm.experiments.entries import check_names, read_entries, read_one_of, read_value
from new_algorithm.experiments.experiment import (
    AnyTask,
    AnyVariation,
    Experiment,
    ScriptTask,
    ScriptVariation,
    Task,
    Variation,
)
from new_algorithm.methods.method import Settings
from new_algorithm.methods.registry import METHODS

FOLDER = Path(__file__).parent / "definitions"
TASKS: tuple[type[AnyTask], ...] = (Task, ScriptTask)
VARIATIONS: tuple[type[AnyVariation], ...] = (Variation, ScriptVariation)


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
    variations: list[AnyVariation] = [
        Variation(find_method(where, key).name, key) for key in methods
    ]
    if "components_of" in given:
        parts = _ablation(where, given.pop("components_of"))
        variations, given["baseline"] = [*parts, *variations], parts[0].name
    tables = {
        part: read_value(dict, given.pop(part, {}), f"{where}: {part}")
        for part in ("variations", "tasks")
    }
    for key, table in tables["variations"].items():
        variations.append(read_one_of(VARIATIONS, table, f"{where}: {key}", name=key))
    known: dict[str, Any] = {"name": name, "variations": tuple(variations)}
    if tables["tasks"]:
        known["tasks"] = tuple(_task(where, *task) for task in tables["tasks"].items())
    if type(seeds := given.get("seeds")) is int and seeds > 0:
        given["seeds"] = list(range(seeds))
    experiment = read_entries(Experiment, given, where, **known)
    check_experiment(experiment)
    return experiment


def _ablation(where: str, key: Any) -> list[Variation]:
    """Return a variation for the whole method, and one for each of its components."""
    method = find_method(where, key)
    if not method.components:
        able = ", ".join(key for key, method in METHODS.items() if method.components)
        raise UserError(f"{where}: {key!r} names no components: choose among {able}")
    changed: dict[str, Settings] = {method.name: {}, **method.components}
    return [Variation(part, key, settings, False) for part, settings in changed.items()]


def _task(where: str, name: str, table: Any) -> AnyTask:
    """Return a task; widths may be written "layers × units"."""
    widths = str(table.get("widths")) if isinstance(table, dict) else ""
    if alike := re.fullmatch(r"(\d+) *[x×] *(\d+)", widths):
        layers, units = map(int, alike.groups())
        table = {**table, "widths": [units] * layers or widths}
    return read_one_of(TASKS, table, f"{where}: {name}", name=name)
