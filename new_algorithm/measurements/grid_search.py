"""The best of a grid of settings, on the validation split."""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from datasets import Dataset
from new_algorithm.cli.progress import progress
from new_algorithm.measurements.methods import Method
from new_algorithm.record.tables import Row

Flags = dict[str, Any]


def grid(**choices: Sequence[Any]) -> list[Flags]:
    """Return every combination of the choices."""
    return [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]


def search(
    name: str,
    settings: Sequence[Flags],
    method_of: Callable[..., Method],
    validation: Dataset,
    seeds: Sequence[int],
) -> tuple[Flags, list[Row]]:
    """Return the flags with the highest mean AUC over `seeds`, and one row a setting."""
    rows, aucs = [], []
    for flags in progress(settings, f"search: {name}", len(settings)):
        scores = [method_of(**flags)(validation, seed) for seed in seeds]
        aucs.append(float(np.mean([score.held_out_auc for score in scores])))
        row: Row = {"method": name, "setting": describe(flags), "auc": aucs[-1]}
        row["train_loss"] = float(np.mean([score.train_loss for score in scores]))
        row["cpu_s"] = float(np.mean([score.cpu_seconds for score in scores]))
        rows.append(row)
    return settings[int(np.nanargmax(aucs))], rows


def describe(flags: Flags) -> str:
    """Return the flags in words."""
    return " ".join(f"{name} {_plain(value)}" for name, value in flags.items())


def _plain(value: Any) -> str:
    return "/".join(_parts(value)) if isinstance(value, tuple) else next(_parts((value,)))


def _parts(values: Sequence[Any]) -> Iterator[str]:
    for value in values:
        yield f"{value:g}" if isinstance(value, float) else str(value)
