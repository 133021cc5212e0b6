"""A script with flags, as an experiment trains it: each trial and run a process with a record."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from new_algorithm.cli.console import notice
from new_algorithm.cli.errors import UserError
from new_algorithm.experiments.experiment import ScriptTask, ScriptVariation, run_tag
from new_algorithm.experiments.flag_space import arguments, flag_of
from new_algorithm.experiments.quantities import find_metric
from new_algorithm.experiments.script import Script, find_script
from new_algorithm.experiments.script_trials import ScriptTrials, failed
from new_algorithm.experiments.search import TrialResult, describe_space
from new_algorithm.experiments.trainable import DONE, SEARCH_SEED, Chosen
from new_algorithm.methods.method import Settings, Space
from new_algorithm.record.files import Row, read_record
from new_algorithm.record.layout import Layout


class ScriptFailedError(Exception):
    """A script ended with an error of its own that may not be the flags'."""


@dataclass(frozen=True)
class ScriptRun:
    """A run to be made. words: all flags."""

    tag: str
    seed: int
    task: ScriptTask
    variation: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class ScriptTraining:
    """A Trainable. layout: of the experiment's runs, below which the scripts write."""

    task: ScriptTask
    variation: ScriptVariation
    layout: Layout
    threads: int

    probes = 0
    remedy = "vary lower rates"

    @property
    def fixed(self) -> Settings:
        return {}

    @property
    def defaults(self) -> Settings:
        return self.fixed

    @property
    def space(self) -> Space:
        return self.variation.space

    def check(self) -> None:
        """UserError for a script or flag that is not there, or a search without validation rows."""
        where = f"{self.task.name}, {self.variation.name}"
        try:
            self._script.check_flags([*self._flags, *map(flag_of, self.space), "--seed"])
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        if self.space and not self._script.has_validation:
            raise UserError(
                f"{where}: {self._script.name} has no --held-out validation, by which settings "
                "could be chosen: leave vary out"
            )

    def trial(self, settings: Settings, number: int) -> TrialResult:
        fixed = [*self._flags, "--seed", str(SEARCH_SEED)]
        metric, tag = self.task.metrics[0], self._tag(f"trial_{number}")
        trials = ScriptTrials(self._script, fixed, self.space, metric, self.threads, self.layout)
        return trials.run(tag, settings, overwrite=True)

    def epochs_after(self, made: TrialResult) -> int:
        return made.epochs

    def plan(self, seed: int, chosen: Chosen) -> ScriptRun:
        tag = self._tag(str(seed))
        words = [*self._flags, *arguments(chosen.settings), *self._given(tag, seed)]
        return ScriptRun(tag, seed, self.task, self.variation.name, tuple(words))

    def is_done(self, planned: ScriptRun) -> bool:
        record = read_record(self.layout.record(planned.tag)) or {}
        if record.get("status") not in DONE:
            return False
        if _argv(record) != self._script.argv(planned.words):
            raise UserError(
                f"{self.layout.relative(self.layout.record(planned.tag))}/ was made with other "
                "flags: give another --tag, or --overwrite to begin anew"
            )
        return True

    def run(self, planned: ScriptRun, script: Path) -> dict[str, Any]:
        """Run the script and return its record.

        ScriptFailedError if it broke, which may be one run's misfortune; UserError for what would
        end all others as well: flags that it refuses, a deciding metric that it does not record.
        Other metrics may be those of some variations alone, and are left empty in the rest.
        """
        ended = self._script.train(planned.tag, planned.words, overwrite=True)
        if ended.returncode == 1 and ended.status not in DONE:  # of Python, for what nobody caught
            raise ScriptFailedError(ended.words)
        if ended.status not in DONE:
            raise failed("run", planned.tag, self._script, ended)
        metrics = ended.record["final_metrics"]
        absent = [name for name in self.task.metrics if not find_metric(metrics, name, "test")]
        if absent and ended.status == "completed":
            told = f"{self.task.name}: {self._script.name} records no {', '.join(absent)}"
            if absent[0] == self.task.metrics[0]:
                raise UserError(f"{told}: name one of {', '.join(metrics)}")
            notice(f"{told} in {planned.tag}")
        return ended.record

    def facts(self, record: dict[str, Any]) -> Row:
        argv = _argv(record)
        end = len(argv) - len(self._given("", 0))
        return {
            "epochs": record.get("final_metrics", {}).get("epoch", ""),
            "settings": " ".join(argv[1 + len(self.task.flags) : end]),
        }

    def samples(self, record: dict[str, Any], epochs: NDArray) -> NDArray | None:
        return None  # an epoch is what the script takes for one

    def about(self) -> tuple[str, dict[str, Any]]:
        said = f"flags {shlex.join(self.variation.flags)}" if self.variation.flags else "no flags"
        name, space = self.variation.name, describe_space(self.space)
        return name, {"name": name, "source": said, "space": space}

    @property
    def _script(self) -> Script:
        return find_script(self.task.script, self.layout)

    @property
    def _flags(self) -> list[str]:
        return [*self.task.flags, *self.variation.flags]

    def _tag(self, last: str) -> str:
        return run_tag(self.task.name, self.variation.name, last)

    def _given(self, tag: str, seed: int) -> list[str]:
        """The flags that the experiment gives to a run."""
        held_out = self._script.held_out("test")
        own = ["--seed", str(seed), "--threads", str(self.threads), "--tag", tag]
        return [*held_out, *own]


def _argv(record: dict[str, Any]) -> list[str]:
    return [word for word in record.get("argv", ()) if word != "--overwrite"]
