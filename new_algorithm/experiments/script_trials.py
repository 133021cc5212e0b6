"""Trials of a search that are runs of a script: each a process, judged by its record."""

import math
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from new_algorithm.cli.endings import INTERRUPTED
from new_algorithm.cli.errors import UserError, own_words
from new_algorithm.experiments.search import TrialResult
from new_algorithm.methods.method import Choice, Range, Settings, Space
from new_algorithm.record.files import read_record
from new_algorithm.record.layout import Layout

METRICS = ("validation_accuracy", "validation_auc", "validation_loss")
UNIT = "_(fraction|nats)$"  # that a record adds to the name of a metric
LESS_IS_BETTER = ("loss", "seconds")
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
        script: Path,
        fixed: Sequence[str],
        space: Space,
        metric: str | None,
        threads: int,
        layout: Layout,
    ) -> None:
        _check_flags(fixed, space)
        self._metric, self._layout = metric, layout
        self._script = _located(script, layout)
        self._fixed, self._threads = [*fixed], threads
        asked = self._start("--help")
        if asked.returncode:
            said = f"{script.name} --help fails ({own_words(asked)})"
            raise UserError(f"{said}: name a script that leaves a record")
        self.held_out = "validation" if re.search(r"--held-out \{", asked.stdout) else "test"
        if metric is None and self.held_out == "test":
            raise UserError(
                f"{script.name} has no --held-out validation: name what decides with --metric"
            )

    def command(self, settings: Settings) -> list[str]:
        """Return the command of these settings, for a run of one's own."""
        return ["python", self._layout.relative(self._script), *self._fixed, *arguments(settings)]

    def made(self, tag: str) -> bool:
        """Whether the run of that tag is a trial of this search, by the command it was given."""
        record = read_record(self._layout.record(tag)) or {}
        argv = [word for word in record.get("argv", ()) if word != "--overwrite"]
        begin, end = [self._layout.relative(self._script), *self._fixed], self._given(tag)
        return argv[: len(begin)] == begin and argv[-len(end) :] == end

    def run(self, tag: str, settings: Settings, overwrite: bool) -> TrialResult:
        """Run the script under `tag`; overwrite: in place of whatever run has it.

        A trial of this search that was cut short is replaced in any case. UserError with the
        script's own words unless it completes or diverges: a trial that was killed, or found the
        disk full or its tag in use, says nothing about its settings.
        """
        folder = self._layout.record(tag)
        before = read_record(folder)
        given = self._given(tag) + ["--overwrite"] * (overwrite or self.made(tag))
        finished = self._start(*self._fixed, *arguments(settings), *given)
        if finished.returncode == INTERRUPTED:
            raise KeyboardInterrupt
        record = read_record(folder) or {}
        if record == before:  # the script failed before it had a record of its own
            record = {}
        metrics = record.get("final_metrics", {})
        seconds, epochs = metrics.get("train_cpu_seconds", 0.0), metrics.get("epoch", 0)
        if record.get("status") == "diverged":
            return TrialResult(None, seconds, epochs)
        if finished.returncode:
            raise UserError(
                f"{tag}: {self._script.name}: {own_words(finished)}; the same command tries this "
                "trial again, finished ones are kept"
            )
        name, number = self._deciding(record)
        less_is_better = any(word in name for word in LESS_IS_BETTER)
        return TrialResult(-number if less_is_better else number, seconds, epochs)

    def describe(self, tag: str) -> str:
        """Return the metric of a trial and its value."""
        name, number = self._deciding(read_record(self._layout.record(tag)) or {})
        return f"{name}={number:.5g}"

    def _deciding(self, record: dict[str, Any]) -> tuple[str, float]:
        """The name and value of the metric in the record of a trial."""
        recorded = record.get("final_metrics", {})
        metrics = {re.sub(UNIT, "", name): value for name, value in recorded.items()}
        wanted = METRICS if self._metric is None else (re.sub(UNIT, "", self._metric),)
        for name in wanted:
            if name in metrics:
                return name, float(metrics[name])
        raise UserError(
            f"{self._script.name} records no {wanted[0]}: give --metric one of "
            f"{', '.join(recorded) or 'its final metrics'}"
        )

    def _given(self, tag: str) -> list[str]:
        """The flags that the search gives to a trial."""
        held_out = ["--held-out", "validation"] if self.held_out == "validation" else []
        return [*held_out, "--threads", str(self._threads), "--tag", tag]

    def _start(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, self._script, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )


def _located(script: Path, layout: Layout) -> Path:
    """The script, as seen from here or from the repository's root."""
    for path in (script.resolve(), (layout.root / script).resolve()):
        inside = path.is_relative_to(layout.root.resolve())
        if inside and path.suffix == ".py" and path.is_file():
            return path
    raise UserError(
        f"{script} is no script of this repository: name one such as bench_mnist.py or "
        "new_algorithm/n_layer_relu_data.py"
    )


def _check_flags(fixed: Sequence[str], space: Space) -> None:
    """UserError for a flag that is the search's to give, or that is both fixed and varied."""
    words = [word.partition("=")[0] for word in fixed if word.startswith("--")]
    given = {word.removeprefix("--").replace("-", "_") for word in words}
    for name, because in NOT_THE_SCRIPTS.items():
        if name in given | space.keys():
            raise UserError(f"{flag_of(name)} is not the script's to be given: {because}")
    if both := [flag_of(name) for name in space if name in given]:
        raise UserError(f"{both[0]} is both varied and fixed: leave one of them out")


FORM = "write FLAG=LOW..HIGH or FLAG=VALUE,VALUE"
SWITCH = {"on", "off"}


def parse_space(pieces: Sequence[str]) -> Space:
    """Return the space by the flags' names, values of choices as typed; UserError names a piece."""
    space: Space = {}
    for piece in pieces:
        flag, equals, text = piece.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z][\w-]*", flag):
            raise UserError(f"--vary {piece}: {FORM}, the flag without its dashes")
        name = flag.replace("-", "_")
        if name in space:
            raise UserError(f"--vary {piece}: {flag} varies already: give each flag once")
        space[name] = _range(piece, text) if ".." in text else _choice(piece, text)
    if not space:
        raise UserError(f"--vary names no flag: {FORM}")
    return space


def flag_of(name: str) -> str:
    """Return the flag of a setting."""
    return "--" + name.replace("_", "-")


def arguments(settings: Settings) -> list[str]:
    """Return the settings as a script takes them."""
    words: list[str] = []
    for name, value in settings.items():
        if value in SWITCH:
            words += [flag_of(name)] if value == "on" else []
        else:
            words += [flag_of(name), *(value.split() if isinstance(value, str) else [f"{value:g}"])]
    return words


def shown(settings: dict[str, Any]) -> str:
    """Return the settings in a line."""
    return " ".join(
        f"{name}={value}" if isinstance(value, str) else f"{name}={value:g}"
        for name, value in settings.items()
    )


def _range(piece: str, text: str) -> Range:
    try:
        low, high = map(float, text.split(".."))
    except ValueError:
        raise UserError(f"--vary {piece}: {FORM}, LOW and HIGH being numbers") from None
    if not 0 < low < high < math.inf:
        raise UserError(f"--vary {piece}: give LOW..HIGH with 0 < LOW < HIGH")
    return Range(low, high)


def _choice(piece: str, text: str) -> Choice:
    values = tuple(" ".join(value.split()) for value in text.split(","))
    if not all(values):
        raise UserError(f"--vary {piece}: a value is empty: {FORM}")
    if len(set(values)) < max(2, len(values)):
        raise UserError(
            f"--vary {piece}: give two values or more that differ; one that is fixed goes after --"
        )
    if SWITCH & set(values) and set(values) != SWITCH:
        raise UserError(f"--vary {piece}: a switch is on,off and takes no other value")
    return Choice(values)
