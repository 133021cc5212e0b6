"""The settings of a variation on a task: searched on the validation rows, or its defaults."""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from new_algorithm.cli.errors import UserError
from new_algorithm.cli.progress import progress
from new_algorithm.experiments.experiment import (
    AnyTask,
    AnyVariation,
    ScriptTask,
    ScriptVariation,
    Task,
    Variation,
    tag_part,
)
from new_algorithm.experiments.method_training import MethodTraining
from new_algorithm.experiments.script_training import ScriptTraining
from new_algorithm.experiments.search import TrialResult, best, search
from new_algorithm.experiments.trainable import SEARCH_SEED, Chosen, Trainable
from new_algorithm.methods.method import Settings, Space
from new_algorithm.record.files import Row, plain, read_json, save_json
from new_algorithm.record.layout import Layout

CHOSEN_FOLDER = "chosen_settings"


def trainable_of(task: AnyTask, variation: AnyVariation, layout: Layout, threads: int) -> Trainable:
    """Return what trains a variation on a task; layout: of the experiment's runs."""
    if isinstance(task, ScriptTask) and isinstance(variation, ScriptVariation):
        return ScriptTraining(task, variation, layout, threads)
    assert isinstance(task, Task)  # as check_experiment demands
    assert isinstance(variation, Variation)
    return MethodTraining(task, variation, layout, threads)


@dataclass(frozen=True)
class Tuning:
    """The choice of the settings of a variation on a task, kept in a file below `layout`.

    allowed: trials that a search may make.
    """

    task: AnyTask
    variation: AnyVariation
    allowed: int
    layout: Layout
    threads: int

    @cached_property
    def trained(self) -> Trainable:
        return trainable_of(self.task, self.variation, self.layout, self.threads)

    @property
    def space(self) -> Space:
        return self.trained.space if self.allowed else {}

    @property
    def trials(self) -> int:
        """How many trainings it takes; where nothing is searched, those to fit the epochs."""
        return self.allowed if self.space else self.trained.probes

    @property
    def path(self) -> Path:
        name = f"{tag_part(self.task.name)}.{tag_part(self.variation.name)}.json"
        return self.layout.records / CHOSEN_FOLDER / name

    @property
    def _question(self) -> list[Any]:
        """What the choice is an answer to, as JSON has it."""
        return plain([asdict(self.task), asdict(self.variation), self.allowed])

    def recall(self) -> Chosen | None:
        """Return what was chosen before, or without a training.

        UserError if that was for another definition.
        """
        if not self.trials:
            return Chosen(self.trained.defaults, 0, [])
        earlier = read_json(self.path)
        if earlier is None:
            return None
        if earlier["question"] != self._question:
            raise UserError(
                f"{self.layout.relative(self.path)} is of another definition of "
                f"{self.task.name!r} or {self.variation.name!r}: give another --tag, or "
                "--overwrite to begin anew"
            )
        return Chosen(_settings(earlier["settings"]), earlier["epochs"], earlier["trials"])

    def choose(self) -> Chosen:
        """Search, or take the defaults; what was chosen before is read again."""
        if (earlier := self.recall()) is not None:
            return earlier
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.space:
            chosen = self._search()
        else:
            made = self.trained.trial({}, 1)
            chosen = Chosen(self.trained.defaults, self.trained.epochs_after(made), [])
        save_json(self.path, {"question": self._question, **asdict(chosen)})
        return chosen

    def _search(self) -> Chosen:
        rows: list[Row] = []

        def objective(settings: Settings) -> TrialResult:
            return self.trained.trial(settings, len(rows) + 1)

        file = self.path.with_suffix(".search.json")
        defaults = self.trained.defaults
        first = defaults if self.space.keys() <= defaults.keys() else None  # scripts have flags
        found = search(file, self.space, self.trials, SEARCH_SEED, objective, first)
        for row in progress(found, self.variation.name, self.trials):
            rows.append(row)
        if (chosen := best(rows)) is None:
            raise UserError(
                f"{self.task.name}, {self.variation.name}: all {len(rows)} trials diverged: "
                f"{self.trained.remedy}"
            )
        settings = self.trained.fixed | _settings(json.loads(chosen["settings"]))
        made = TrialResult(chosen["value"], chosen["cpu_seconds"], chosen["epochs"])
        return Chosen(settings, self.trained.epochs_after(made), rows)


def _settings(stored: dict[str, Any]) -> Settings:
    """JSON has neither tuples nor infinity, which `plain` turns into lists and a string."""
    return {
        name: tuple(v) if isinstance(v, list) else float(v) if v in ("inf", "-inf") else v
        for name, v in stored.items()
    }
