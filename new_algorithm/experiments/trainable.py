"""What an experiment needs of a variation on a task, whatever trains it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from new_algorithm.experiments.search import TrialResult
from new_algorithm.methods.method import Settings, Space
from new_algorithm.record.files import Row
from new_algorithm.record.note import show

SEARCH_SEED = 1_000_003  # of weights and shuffles in every trial: none of an experiment's own
DONE = ("completed", "diverged")  # runs that are not made again


@dataclass(frozen=True)
class Chosen:
    """settings: all of them. trials: a row for each, none where nothing was searched."""

    settings: Settings
    epochs: int
    trials: list[Row]

    def describe(self) -> str:
        searched = f"{len(self.trials)} trials, " if self.trials else ""
        return f"{searched}{show(self.settings) or 'no settings'}, {self.epochs} epochs"


class Planned(Protocol):
    """A run to be made. tag: below that of its experiment. variation: its name."""

    @property
    def tag(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def task(self) -> Any: ...
    @property
    def variation(self) -> str: ...


class Trainable(Protocol):
    """A method on a problem, or a script with flags. It is sent to the worker processes.

    probes: trainings that tell how long a run is to be, where nothing is searched. remedy: what to
    do if all trials diverge.
    """

    @property
    def probes(self) -> int: ...
    @property
    def remedy(self) -> str: ...

    @property
    def fixed(self) -> Settings:
        """The settings that are not searched."""

    @property
    def defaults(self) -> Settings:
        """What is run where nothing is searched, and what a search tries first."""

    @property
    def space(self) -> Space:
        """What a search may try for the others."""

    def check(self) -> None:
        """UserError for what cannot be run, before anything is."""

    def trial(self, settings: Settings, number: int) -> TrialResult:
        """Train once with these settings and what is fixed; judge by the validation rows."""

    def epochs_after(self, made: TrialResult) -> int:
        """How many epochs a run is to have, by a trial that was made."""

    def plan(self, seed: int, chosen: Chosen) -> Planned:
        """Return the run of that seed."""

    def is_done(self, planned: Any) -> bool:
        """Whether the run is recorded; UserError if it was made in another way."""

    def run(self, planned: Any, script: Path) -> dict[str, Any]:
        """Make the run and return its record. script: of the experiment."""

    def facts(self, record: dict[str, Any]) -> Row:
        """The epochs and settings of a recorded run."""

    def samples(self, record: dict[str, Any], epochs: NDArray) -> NDArray | None:
        """How many rows a recorded run went through in so many epochs, where that is known."""

    def about(self) -> tuple[str, dict[str, Any]]:
        """A key, and the name, source and search space for the report."""
