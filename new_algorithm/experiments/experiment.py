"""What an experiment consists of: tasks, variations, seeds, and what it is to show."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from datasets import Dataset
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import Fraction, NonNegativeInt, PositiveFloat, PositiveInt, Seed
from new_algorithm.experiments.flag_space import parse_space
from new_algorithm.methods.method import Problem, Space
from new_algorithm.methods.registry import METHODS
from new_algorithm.models.model import MODELS

# on the held-out rows, all but the train loss; of losses and the squared error (of probabilities,
# a row) less is better
Metric = Literal["accuracy", "auc", "loss", "squared_error", "train_loss"]


@dataclass(frozen=True)
class Task:
    """A data set, a network and the cost of a run.

    widths: units of each hidden layer. model: in place of both, a name of MODELS. metrics: the
    first one decides, on the validation rows in a search and on the test rows in the end.
    cpu_seconds: training time of a run, which determines its epochs; or `epochs` directly.
    batch_size: of every method, in place of its own. parts: of a pass over the training rows, each
    of which is an epoch, but of methods whose epochs are whole. label_smoothing: of what methods
    with a loss at the output train towards; what is scored has none.
    """

    name: str
    dataset: str | None = None
    widths: Annotated[
        tuple[PositiveInt, ...], 'the units of each hidden layer, as [512, 256] or "8 × 64"'
    ] = ()
    metrics: Annotated[
        tuple[Metric, ...], f"a list of {', '.join(get_args(Metric))}, or of some of them"
    ] = ("accuracy",)
    cpu_seconds: PositiveFloat | None = None
    epochs: PositiveInt | None = None
    train_limit: PositiveInt | None = None
    batch_size: PositiveInt | None = None
    model: Literal[tuple(MODELS)] | None = None  # type: ignore[valid-type]
    parts: PositiveInt = 1
    label_smoothing: Fraction = 0.0

    @property
    def followed(self) -> str:
        """The rows that learning curves are on."""
        return "validation"

    @property
    def data_name(self) -> str:
        """What is trained on, in words."""
        return self.dataset or f"of the {MODELS[self.model or ''].name}"

    def problem(self, data: Dataset, epochs: int, seed: int, threads: int) -> Problem:
        """Return what a method is given. UserError for smoothed labels of a regression."""
        if self.label_smoothing and data.num_classes is None:
            raise UserError(f"{self.name}: label_smoothing: there are no classes: leave it out")
        model = MODELS[self.model] if self.model else None
        return Problem(
            data,
            self.widths,
            epochs,
            seed,
            threads,
            model=model,
            parts=self.parts,
            label_smoothing=self.label_smoothing,
        )


@dataclass(frozen=True)
class ScriptTask:
    """A script of the repository, with flags, in place of a data set and a network.

    metrics: final metrics of its record, without `test_` and units; the first one decides, of
    `--held-out validation` in a search and of `--held-out test` in the end. The others may be such
    as only some variations record.
    """

    name: str
    script: str
    metrics: Annotated[tuple[str, ...], "a list of final metrics of the script's record"]
    flags: tuple[str, ...] = ()

    @property
    def followed(self) -> str:
        """The rows that learning curves are on."""
        return "test"

    @property
    def data_name(self) -> str:
        """What is trained on, in words."""
        return f"of {Path(self.script).name}"


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
class ScriptVariation:
    """Flags for the script of every task. vary: those that are searched, as in flag_space.py."""

    name: str
    flags: tuple[str, ...] = ()
    vary: tuple[str, ...] = ()

    @property
    def space(self) -> Space:
        return parse_space(self.vary) if self.vary else {}


AnyTask = Task | ScriptTask
AnyVariation = Variation | ScriptVariation


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
    what a sceptical reader should know. ablation: of scripts, whether the variations are one thing
    with parts of it removed or swapped."""

    name: str
    hypothesis: str
    baseline: str
    tasks: tuple[AnyTask, ...]
    variations: tuple[AnyVariation, ...]
    seeds: Annotated[tuple[Seed, ...], "how many, or a list of different ones"]
    trials: NonNegativeInt = 0
    lambda_map: str | None = None
    paper: Paper | None = None
    caveats: tuple[str, ...] = ()
    ablation: bool = False

    @property
    def of_scripts(self) -> bool:
        """Whether its runs are a script's; otherwise they are a method's on a problem."""
        return any(isinstance(task, ScriptTask) for task in self.tasks)

    @property
    def whole_epochs(self) -> list[str]:
        """The variations whose epochs are whole, whatever the parts of a task."""
        ours = [one for one in self.variations if isinstance(one, Variation)]
        known = [one for one in ours if one.method in METHODS]  # of an older record, perhaps not
        return [one.name for one in known if METHODS[one.method].whole_epochs]

    @property
    def is_ablation(self) -> bool:
        """Whether the variations are one method, with parts of it removed or swapped."""
        methods = {one.method for one in self.variations if isinstance(one, Variation)}
        return self.ablation or len(methods) == 1 < len(self.variations)


LONGEST_PART = 40  # of a tag, for task and variation


def tag_part(name: str) -> str:
    """Return what stands for a task or a variation in tags and files."""
    return slug(name)[:LONGEST_PART]


def run_tag(task: str, variation: str, last: int | str) -> str:
    """Return the tag of a run below that of its experiment; last: its seed."""
    return f"{tag_part(task)}.{tag_part(variation)}.{last}"


def slug(name: str) -> str:
    """Return `name` in the characters that tags may have."""
    return re.sub(r"[^A-Za-z0-9-]+", "_", name.replace("×", "x")).strip("_")
