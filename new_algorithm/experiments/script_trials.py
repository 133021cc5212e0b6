"""Trials of a search that are runs of a script: each a process, judged by its record."""

import math
from collections.abc import Sequence
from typing import Any

from new_algorithm.cli.errors import UserError
from new_algorithm.experiments.flag_space import arguments, flag_of
from new_algorithm.experiments.quantities import find_metric, less_is_better
from new_algorithm.experiments.script import Ended, Script, names_of
from new_algorithm.experiments.search import TrialResult
from new_algorithm.methods.method import Settings, Space
from new_algorithm.record.files import read_record
from new_algorithm.record.layout import Layout

METRICS = ("accuracy", "auc", "loss")
NOT_THE_SCRIPTS = {  # flags, and why
    "held_out": "a search is on the validation rows and must not see the test rows",
    "tag": "the search gives it",
    "overwrite": "the search gives it",
    "resume": "the search gives it",
    "threads": "give --threads before --",
}


class ScriptTrials:
    """Runs `script` with flags that are fixed and flags that vary.

    metric: the final metric that decides; by default the first of METRICS that a run has.
    held_out: on which rows, validation wherever the script knows the flag. UserError if the script
    or one of its flags is not for a search.
    """

    def __init__(
        self,
        script: Script,
        fixed: Sequence[str],
        space: Space,
        metric: str | None,
        threads: int,
        layout: Layout,
    ) -> None:
        check_not_given([*names_of(fixed), *space], NOT_THE_SCRIPTS)
        check_fixed(fixed, space)
        script.check_flags([*fixed, *map(flag_of, space)])
        self._script, self._metric, self._layout = script, metric, layout
        self._fixed, self._threads = [*fixed], threads
        self.held_out = "validation" if script.has_validation else "test"
        if metric is None and self.held_out == "test":
            raise UserError(
                f"{script.name} has no --held-out validation: name what decides with --metric"
            )

    def command(self, settings: Settings) -> list[str]:
        """Return the command of these settings, for a run of one's own."""
        return ["python", *self._script.argv([*self._fixed, *arguments(settings)])]

    def made(self, tag: str) -> bool:
        """Whether the run of that tag is a trial of this search, by the command it was given."""
        record = read_record(self._layout.record(tag)) or {}
        argv = [word for word in record.get("argv", ()) if word != "--overwrite"]
        begin, end = self._script.argv(self._fixed), self._given(tag)
        return argv[: len(begin)] == begin and argv[-len(end) :] == end

    def run(self, tag: str, settings: Settings, overwrite: bool) -> TrialResult:
        """Run the script under `tag`; overwrite: in place of whatever run has it.

        A trial of this search that was cut short is replaced in any case. UserError with the
        script's own words unless it completes or diverges, as one does whose metric is not finite:
        a trial that was killed, or found the disk full or its tag in use, says nothing about its
        settings.
        """
        words = [*self._fixed, *arguments(settings), *self._given(tag)]
        ended = self._script.train(tag, words, overwrite or self.made(tag))
        metrics = ended.record.get("final_metrics", {})
        seconds, epochs = metrics.get("train_cpu_seconds", 0.0), metrics.get("epoch", 0)
        if ended.status == "diverged":
            return TrialResult(None, seconds, epochs)
        if ended.returncode:
            raise failed("trial", tag, self._script, ended)
        name, number = self._deciding(ended.record)
        if not math.isfinite(number):
            return TrialResult(None, seconds, epochs)
        return TrialResult(-number if less_is_better(name) else number, seconds, epochs)

    def describe(self, tag: str) -> str:
        """Return the metric of a trial and its value."""
        name, number = self._deciding(read_record(self._layout.record(tag)) or {})
        return f"{name}={number:.5g}"

    def _deciding(self, record: dict[str, Any]) -> tuple[str, float]:
        """The name and value of the metric in the record of a trial."""
        recorded = record.get("final_metrics", {})
        wanted = METRICS if self._metric is None else (self._metric,)
        for name in wanted:
            if (found := find_metric(recorded, name, self.held_out)) is not None:
                return found[0], float(found[1])  # JSON has words for what is not finite
        raise UserError(
            f"{self._script.name} records no {wanted[0]}: give --metric one of "
            f"{', '.join(recorded) or 'its final metrics'}"
        )

    def _given(self, tag: str) -> list[str]:
        """The flags that the search gives to a trial."""
        held_out = self._script.held_out("validation")
        return [*held_out, "--threads", str(self._threads), "--tag", tag]


def failed(what: str, tag: str, script: Script, ended: Ended) -> UserError:
    """What to say of a trial or a run that neither completed nor diverged."""
    return UserError(
        f"{tag}: {script.name}: {ended.words}; the same command tries this {what} again, finished "
        "ones are kept"
    )


def check_not_given(names: Sequence[str], reasons: dict[str, str]) -> None:
    """UserError for a flag that is not the user's to give, with the reason."""
    for name, because in reasons.items():
        if name in names:
            raise UserError(f"{flag_of(name)} is not the script's to be given: {because}")


def check_fixed(fixed: Sequence[str], space: Space) -> None:
    """UserError for a flag that is both fixed and varied."""
    if both := [flag_of(name) for name in space if name in names_of(fixed)]:
        raise UserError(f"{both[0]} is both varied and fixed: leave one of them out")
