"""Scripts of this repository that leave a record, each run a process of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

from new_algorithm.cli.endings import INTERRUPTED
from new_algorithm.cli.errors import UserError, own_words
from new_algorithm.record.files import read_record
from new_algorithm.record.layout import GROUP_VARIABLE, Layout

FLAG = r"^[│|\s]*(?:-\w, )?(--[a-z][\w-]*)"  # at the beginning of a line of --help

_running: set["subprocess.Popen[str]"] = set()


class Ended(NamedTuple):
    """record: what the run has left, nothing if it failed before. words: its own, of a failure."""

    record: dict[str, Any]
    returncode: int
    words: str

    @property
    def status(self) -> str | None:
        return self.record.get("status")


class Script:
    """A script by its path; UserError if it is none of this repository.

    layout: of its runs' records.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path, self._layout = _located(path, layout), layout
        self.name = layout.relative(self.path)

    @cached_property
    def help(self) -> str:
        """What --help says; UserError for a script that leaves no record."""
        asked = self._start("--help")
        if asked.returncode or "tag" not in _flags(asked.stdout):
            said = f"fails ({own_words(asked)})" if asked.returncode else "knows no --tag"
            raise UserError(f"{self.name} --help {said}: name a script that leaves a record")
        return asked.stdout

    @property
    def kinds(self) -> dict[str, str]:
        """What --help says that follows each flag, nothing where it is a switch."""
        lines = re.findall(rf"{FLAG}((?: [^\s│]+)*)(?:  |\s*│|\s*$)", self.help, re.MULTILINE)
        return {names_of([flag])[0]: words.strip() for flag, words in lines}

    @property
    def has_validation(self) -> bool:
        """Whether there is a choice of held-out rows."""
        return re.search(r"--held-out \{", self.help) is not None

    def check_flags(self, words: Sequence[str]) -> None:
        """UserError for a flag that the script does not know; values are its own to check."""
        for name in names_of(words):
            if name not in _flags(self.help):
                flag = f"--{name.replace('_', '-')}"
                raise UserError(f"{flag} is no flag of {self.name}: see its --help")

    def held_out(self, part: str) -> list[str]:
        """Return the flag for these rows, where there is a choice."""
        return ["--held-out", part] if self.has_validation else []

    def argv(self, words: Sequence[str]) -> list[str]:
        """Return what a record has of the command with these flags."""
        return [self.name, *words]

    def train(self, tag: str, words: Sequence[str], overwrite: bool) -> Ended:
        """Run the script with these flags, `--tag` among them, and wait for its end."""
        folder = self._layout.record(tag)
        before = read_record(folder)
        finished = self._start(*words, *["--overwrite"] * overwrite)
        if finished.returncode == INTERRUPTED:
            raise KeyboardInterrupt
        record = read_record(folder) or {}
        if record == before:  # the script failed before it had a record of its own
            record = {}
        return Ended(
            record, finished.returncode, own_words(finished) if finished.returncode else ""
        )

    def _start(self, *words: str) -> "subprocess.CompletedProcess[str]":
        process = subprocess.Popen(
            [sys.executable, self.path, *words],
            env=os.environ | {GROUP_VARIABLE: self._layout.group},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        _running.add(process)
        try:
            stdout, stderr = process.communicate()
        except BaseException:
            process.terminate()
            process.communicate()  # it saves its record
            raise
        finally:
            _running.discard(process)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


@cache
def find_script(path: str, layout: Layout) -> Script:
    """Return the script of that path, one for all that ask, so that it says its --help once."""
    return Script(Path(path), layout)


def end_scripts() -> None:
    """Let the scripts that this process has started save their records and end."""
    for process in list(_running):
        process.terminate()


def names_of(words: Sequence[str]) -> list[str]:
    """Return the names of the flags in a command, as settings have them."""
    flags = [word.partition("=")[0] for word in words if word.startswith("--")]
    return [flag.removeprefix("--").replace("-", "_") for flag in flags]


def _flags(said: str) -> set[str]:
    """The flags that begin a line of a --help, or of the frame that tyro draws there."""
    return set(names_of(re.findall(FLAG, said, re.MULTILINE)))


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
