"""Whether the parts of an experiment, each sound by itself, make sense together."""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from new_algorithm.cli.errors import UserError
from new_algorithm.experiments.entries import WANTED, check_names, is_plain, read_value, unfit
from new_algorithm.experiments.experiment import (
    Experiment,
    ScriptTask,
    ScriptVariation,
    Task,
    Variation,
)
from new_algorithm.experiments.script import names_of
from new_algorithm.experiments.script_trials import check_fixed, check_not_given
from new_algorithm.methods.method import Choice, Method, Range
from new_algorithm.methods.registry import METHODS

GIVEN = dict.fromkeys(
    ("seed", "threads", "held_out", "tag", "overwrite", "resume"), "the experiment gives it"
)
PARTS = ("train_", "test_", "validation_")


def check_experiment(experiment: Experiment) -> None:
    """UserError unless the parts of the definition make sense together."""
    where, seeds = f"{experiment.name}.toml", experiment.seeds
    if len(set(seeds)) < len(seeds):
        raise UserError(f"{where}: seeds: give each one once")
    _check_kinds(where, experiment)
    for task in experiment.tasks:
        if isinstance(task, ScriptTask):
            _check_script_task(f"{where}: {task.name}", task)
        else:
            _check_task(f"{where}: {task.name}", task)
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
        if isinstance(variation, ScriptVariation):
            _check_flags(f"{where}: {variation.name}", variation, experiment)
        else:
            _check_method(where, variation, experiment)


def find_method(where: str, key: Any) -> Method:
    """Return the method of that key; UserError for none."""
    if read_value(str, key, f"{where}: method") not in METHODS:
        near = difflib.get_close_matches(key, METHODS) or list(METHODS)
        raise UserError(f"{where}: no method {key!r}: choose {' or '.join(near)}")
    return METHODS[key]


def _check_kinds(where: str, experiment: Experiment) -> None:
    """UserError where some parts are for scripts and others for methods."""
    parts = [*experiment.tasks, *experiment.variations]
    of_scripts = [isinstance(one, ScriptTask | ScriptVariation) for one in parts]
    if len(set(of_scripts)) > 1:
        ours, theirs = (parts[of_scripts.index(kind)].name for kind in (True, False))
        raise UserError(
            f"{where}: {ours!r} is for a script and {theirs!r} is not: give every task a script "
            "and every variation flags, or none"
        )


def _check_task(where: str, task: Task) -> None:
    if (task.cpu_seconds is None) == (task.epochs is None):
        raise UserError(f"{where}: give either cpu_seconds or epochs")
    given = [bool(task.dataset), bool(task.widths), task.model is None]
    if len(set(given)) > 1:
        raise UserError(f"{where}: give dataset and widths, or a model")
    if task.batch_size is not None and task.model is not None:
        raise UserError(f"{where}: batch_size: a model has one of its own: leave it out")
    if task.label_smoothing and task.model is not None:
        raise UserError(f"{where}: label_smoothing: a model has a loss of its own: leave it out")


def _check_script_task(where: str, task: ScriptTask) -> None:
    with _naming(where):
        check_not_given(names_of(task.flags), GIVEN)
    for name in task.metrics:
        if name.startswith(PARTS):
            bare = name.partition("_")[2]
            raise UserError(f"{where}: metrics: {name} is of held-out rows anyhow: give {bare!r}")


def _check_method(where: str, variation: Variation, experiment: Experiment) -> None:
    method = find_method(where, variation.method)
    tasks = [one for one in experiment.tasks if isinstance(one, Task)]
    models = [one.name for one in tasks if one.model]
    if models and not method.any_model:
        raise UserError(f"{where}: {models[0]}: {method.name} trains ReLU networks alone")
    divided = [one.name for one in tasks if one.parts > 1 and one.epochs]
    if divided and method.whole_epochs:
        raise UserError(
            f"{where}: {divided[0]}: parts: an epoch of {method.name} is whole: give "
            "cpu_seconds in place of epochs, or no parts"
        )
    sized = [one.name for one in tasks if one.batch_size]
    if sized and "batch_size" not in method.defaults.keys() - variation.settings.keys():
        raise UserError(
            f"{where}: {sized[0]}: batch_size: {variation.name} has none of its own to replace: "
            "leave one of the two out"
        )
    _check_settings(f"{where}: {variation.name}", variation, method)


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
        _check_number(f"{where}: {name}", value, method.space.get(name))


def _check_number(where: str, value: Any, tried: Range | Choice | None) -> None:
    """UserError for a number below 0, or of 0 where all that a search would try are above it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    numbers = (tried.low,) if isinstance(tried, Range) else getattr(tried, "values", (0,))
    is_positive = all(isinstance(one, int | float) and one > 0 for one in numbers)
    if is_positive and not value > 0:
        raise unfit(where, value, "a number above 0")
    if not value >= 0:  # NaN too
        raise unfit(where, value, "a number of at least 0")


def _check_flags(where: str, variation: ScriptVariation, experiment: Experiment) -> None:
    """UserError for flags that are the experiment's to give, and for what varies wrongly."""
    with _naming(where):
        space = variation.space
        check_not_given([*names_of(variation.flags), *space], GIVEN)
        for task in experiment.tasks:
            fixed = task.flags if isinstance(task, ScriptTask) else ()
            check_fixed([*fixed, *variation.flags], space)


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Let what is refused inside say where it stands."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
