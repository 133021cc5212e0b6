"""Experiments that take no time, and methods of which every outcome is known."""

import csv
import json
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

from new_algorithm.back_projection.metrics import Scores
from new_algorithm.cli.errors import DivergedError
from new_algorithm.experiments.experiment import Experiment, Task, Variation
from new_algorithm.methods.method import Epoch, Method, Range
from new_algorithm.methods.registry import METHODS
from new_algorithm.record.clock import TrainingClock

TASK = Task("tiny: 20-6-4", "synthetic", (6,), epochs=2, train_limit=300)
NOT_ALIKE = ("cpu_seconds", "wall_seconds", "memory")  # between two runs of one seed


def tiny(*methods, **changed):
    """Return an experiment of some methods, the first of which is the baseline."""
    variations = tuple(Variation(METHODS[key].name, key) for key in methods)
    given = {"tasks": (TASK,), "variations": variations, "seeds": (0, 1), "trials": 2}
    return Experiment("tiny", "The first is best.", variations[0].name, **given | changed)


@dataclass
class Pretender:
    """A method that costs `seconds` an epoch, and diverges in the epochs that `breaks` names.

    The larger its setting `size`, the higher its accuracy. calls: problem and settings of each
    training. memory: bytes that it takes for a moment.
    """

    breaks: Callable[[dict, int], bool] = lambda settings, epoch: False
    seconds: float = 0.01
    memory: int = 0
    calls: list = field(default_factory=list)

    def train(self, problem, settings):
        self.calls.append((problem, settings))
        bytes_for_a_moment = bytearray(b"1") * self.memory
        del bytes_for_a_moment
        _, weights = problem.start()
        for epoch in range(1, problem.epochs + 1):
            if self.breaks(settings, epoch):
                raise DivergedError(f"epoch {epoch}: as planned")
            weights = [0.5 * weight for weight in weights]
            scores = Scores(loss=1 / epoch, accuracy=settings["size"] / 100, auc=None)
            clock = TrainingClock(epoch * self.seconds, epoch * self.seconds)
            yield Epoch(epoch, clock, weights, lambda scores=scores: (scores, scores))

    def method(self, name="pretender"):
        return Method(name, "nowhere", {"size": (5.0, Range(1, 50))}, self.train)


def overhear(monkeypatch, key):
    """Let the method note each problem, and the weights that come of it, in the list returned."""
    heard = []

    def train(problem, settings):
        weights = []
        try:
            for epoch in original.train(problem, settings):
                weights = [weight.copy() for weight in epoch.weights]
                yield epoch
        finally:
            heard.append((problem, weights))

    original = METHODS[key]
    monkeypatch.setitem(METHODS, key, replace(original, train=train))
    return heard


@contextmanager
def here(_means):
    """Stands for the worker processes: does each job at once, in this process."""

    def submit(job, *arguments):
        future = Future()
        try:
            future.set_result(job(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    yield SimpleNamespace(submit=submit)


def rows_of(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def alike(rows):
    """Return what must be the same in two runs of one seed: all but times and memory."""
    return [
        {name: value for name, value in row.items() if not any(part in name for part in NOT_ALIKE)}
        for row in rows
    ]


def json_of(path):
    return json.loads(path.read_text(encoding="utf-8"))
