"""A method on a problem, as an experiment trains it.

Every trial, like every run later, has as many epochs as come nearest to the task's CPU time: in a
trial by what a few epochs cost, later by what the trial did, as the cost of an epoch may grow.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets import Dataset, check_name
from new_algorithm.back_projection.gram import MANY_IN_A_BATCH
from new_algorithm.cli.console import notice
from new_algorithm.cli.endings import reason
from new_algorithm.cli.errors import DivergedError, UserError
from new_algorithm.experiments.experiment import Task, Variation, run_tag
from new_algorithm.experiments.quantities import TRAIN_LOSS, less_is_better
from new_algorithm.experiments.search import TrialResult, describe_space
from new_algorithm.experiments.single_run import SingleRunConfig, is_done, single_run
from new_algorithm.experiments.task_data import task_data, warm_up
from new_algorithm.experiments.trainable import SEARCH_SEED, Chosen
from new_algorithm.methods.method import Choice, Epoch, Settings, Space
from new_algorithm.methods.passes import Passes
from new_algorithm.methods.registry import METHODS
from new_algorithm.models.model import MODELS
from new_algorithm.record.files import Row
from new_algorithm.record.layout import Layout
from new_algorithm.record.note import show

# of settings that a library cannot do with; torch's own errors are RuntimeErrors
BROKEN = (ArithmeticError, MemoryError, np.linalg.LinAlgError, RuntimeError)
PROBED_EPOCHS = 6  # passes, or two parts of one, to find out their cost before a trial


@dataclass(frozen=True)
class MethodTraining:
    """A Trainable. layout: of the experiment's runs."""

    task: Task
    variation: Variation
    layout: Layout
    threads: int
    _fitted: dict[str, int] = field(
        default_factory=dict
    )  # epochs, by choices that change one's cost

    probes = 1

    @property
    def remedy(self) -> str:
        return f"widen the space in new_algorithm/methods/{self.variation.method}.py"

    @property
    def fixed(self) -> Settings:
        """The defaults, but for the settings that the definition gives."""
        method = METHODS[self.variation.method]
        many = (self.task.batch_size or 0) >= MANY_IN_A_BATCH
        return method.defaults | (method.large_batches if many else {}) | self._given

    @property
    def defaults(self) -> Settings:
        problem = self.task.problem(self._data, 1, SEARCH_SEED, self.threads)
        return METHODS[self.variation.method].in_values(problem, self.fixed)

    @property
    def _given(self) -> Settings:
        size = self.task.batch_size
        of_task = {} if size is None else {"batch_size": size}
        return of_task | self.variation.settings

    @property
    def space(self) -> Space:
        """The method's space but for the settings that are fixed, and where the task's model has
        batches and inputs of its own, for these."""
        space = METHODS[self.variation.method].space if self.variation.searched else {}
        own = {"batch_size", "inputs"} if self.task.model is not None else set()
        left_out = own | self._given.keys()
        return {name: values for name, values in space.items() if name not in left_out}

    def check(self) -> None:
        if self.task.model is not None:
            MODELS[self.task.model].find()
        elif self.task.dataset is not None:
            check_name(self.task.dataset)

    def trial(self, settings: Settings, number: int) -> TrialResult:
        """Train once on the training rows, with what is fixed and these settings.

        The result is the task's first metric, on the validation rows unless it is the train loss,
        its negative where less is better. Where a library cannot solve, or finds no memory, these
        settings are as bad as any that diverge.
        """
        warm_up(self.variation.method, self._data.num_classes == 2)
        seconds, epochs = 0.0, self.task.epochs or 1
        settings, metric = self.fixed | settings, self.task.metrics[0]
        try:
            epochs = self._epochs(settings)
            for epoch in self._train(settings, epochs):
                seconds = epoch.clock.cpu_seconds
            train, held_out = epoch.scores()  # DivergedError, whichever epoch it began in
        except DivergedError:
            return TrialResult(None, cpu_seconds=seconds, epochs=epochs)
        except BROKEN as error:
            name = f"{self.task.name}, {self.variation.name}, trial {number}"
            notice(f"{name}: {reason(error)}: it counts as diverged")
            return TrialResult(None, cpu_seconds=seconds, epochs=epochs)
        value = train.loss if metric == TRAIN_LOSS.column else getattr(held_out, metric)
        if value is None:
            raise UserError(f"{self.task.name}: there is no {metric} of these data: name another")
        return TrialResult(-value if less_is_better(metric) else value, seconds, epoch.number)

    def epochs_after(self, made: TrialResult) -> int:
        seconds = None if made.diverged else self.task.cpu_seconds
        return nearest_epochs(seconds, made.epochs, made.cpu_seconds)

    def plan(self, seed: int, chosen: Chosen) -> SingleRunConfig:
        return SingleRunConfig(
            tag=run_tag(self.task.name, self.variation.name, seed),
            overwrite=True,  # of a run that was cut short
            seed=seed,
            threads=self.threads,
            task=self.task,
            variation=self.variation.name,
            method=self.variation.method,
            settings=chosen.settings,
            epochs=chosen.epochs,
        )

    def is_done(self, planned: SingleRunConfig) -> bool:
        return is_done(planned, self.layout)

    def run(self, planned: SingleRunConfig, script: Path) -> dict[str, Any]:
        return single_run(planned, self.layout, script)

    def facts(self, record: dict[str, Any]) -> Row:
        config = record.get("config", {})
        return {"epochs": config.get("epochs", ""), "settings": show(config.get("settings", {}))}

    def samples(self, record: dict[str, Any], epochs: NDArray) -> NDArray | None:
        rows = record.get("data", {}).get("counts", {}).get("train", 0)
        if not rows:
            return None
        passes = self._passes(rows, record.get("config", {}).get("settings", {}))
        steps = np.array([passes.steps(int(epoch)) for epoch in epochs], dtype=int)
        return rows * steps // passes.batches

    def about(self) -> tuple[str, dict[str, Any]]:
        method = METHODS[self.variation.method]
        space = describe_space(method.space)
        return self.variation.method, {"name": method.name, "source": method.source, "space": space}

    def _epochs(self, settings: Settings) -> int:
        """Return about the epochs of a run; rates and penalties do not change what one costs."""
        if self.task.cpu_seconds is None:
            return self.task.epochs or 1
        of_cost = [name for name, values in self.space.items() if isinstance(values, Choice)]
        choices = repr([settings[name] for name in of_cost])
        if choices not in self._fitted:
            parts = self._passes(len(self._data.x_train), settings).parts
            probe = self._train(settings, max(2, PROBED_EPOCHS // parts))
            self._fitted[choices] = fitted_epochs(self.task.cpu_seconds, probe)
        return self._fitted[choices]

    def _passes(self, rows: int, settings: Settings) -> Passes:
        """Return what epochs are of a pass over so many rows."""
        if METHODS[self.variation.method].whole_epochs:
            return Passes.over(rows, rows, parts=1)
        model = MODELS[self.task.model] if self.task.model else None
        # a size that is to follow from the problem is small
        size = model.batch_size if model else settings.get("batch_size") or 1
        return Passes.over(rows, size, self.task.parts)

    def _train(self, settings: Settings, epochs: int) -> Iterator[Epoch]:
        problem = self.task.problem(self._data, epochs, SEARCH_SEED, self.threads)
        return METHODS[self.variation.method].train(problem, settings)

    @property
    def _data(self) -> Dataset:
        return task_data(self.task).searched


def fitted_epochs(cpu_seconds: float, training: Iterator[Epoch]) -> int:
    """Return how many epochs come nearest to `cpu_seconds`, at least 1.

    The training is followed until its end or until the time is over; epochs to come are taken to
    cost what the second to the last of it did on average.
    """
    made = []
    for epoch in training:
        made.append(epoch.clock.cpu_seconds)
        if made[-1] >= cpu_seconds:
            return 1 + int(np.argmin(np.abs(np.array(made) - cpu_seconds)))
    if len(made) == 1:
        return nearest_epochs(cpu_seconds, 1, made[0])
    an_epoch = float(np.diff(made).mean())
    return len(made) + round((cpu_seconds - made[-1]) / max(an_epoch, 1e-6))


def nearest_epochs(cpu_seconds: float | None, epochs: int, took: float) -> int:
    """Return how many epochs come nearest to `cpu_seconds`, at least 1, if `epochs` took `took`.

    Without a time they are as many as before.
    """
    return epochs if cpu_seconds is None else max(1, round(epochs * cpu_seconds / took))
