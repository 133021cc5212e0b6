"""The definition of an experiment: what is compared, on what, how often, at what cost."""

from dataclasses import dataclass, field
from typing import Any

METRICS = ("accuracy", "auc", "loss")  # on the held-out rows; of the loss less is better


@dataclass(frozen=True)
class Task:
    """A data set, a network and the cost of a run.

    widths: units of each hidden layer. metrics: of which the first decides: it is searched on
    validation and tested on test. cpu_seconds: of training in one run, from which follow the
    epochs; or `epochs` themselves.
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

    method: a key of METHODS. searched: whether the other settings are, or are the defaults.
    """

    name: str
    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    searched: bool = True


@dataclass(frozen=True)
class Paper:
    """What a paper reports, to be reproduced: value ± tolerance of the task's first metric.

    source: where in the paper the value stands. deviations: what is done otherwise here.
    """

    citation: str
    source: str
    value: float
    tolerance: float
    deviations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """hypothesis: a sentence that the result can contradict. baseline: the variation that the
    others are compared with. trials: settings that each method may try on validation, 0 for its
    defaults. lambda_map: tag of a run of bench_n_layer.py lambda-map, for the report. paper: what
    the baseline's result on the first task is held against. caveats: sentences on what a hostile
    reader should know, for the report."""

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
