"""Errors that are shown as one line, without a traceback, and that line of another process."""

import signal
import subprocess


class UserError(Exception):
    """A mistake of the user: its text is one line that names the thing and the remedy."""


class DivergedError(UserError):
    """Training went wrong numerically: the layer and iteration, and what to try."""


def own_words(finished: "subprocess.CompletedProcess[str]") -> str:
    """Return the line in which a script says what is wrong, out of its frame if it has one."""
    if finished.returncode < 0:
        return f"killed by {signal.Signals(-finished.returncode).name}"
    stderr = finished.stderr
    lines = [line.strip("╭╮╰╯│─ \t") for line in stderr.splitlines()]
    lines = [line for line in lines if line]
    for line in lines:
        if line.startswith("error: "):
            return line.removeprefix("error: ")
    if stderr.lstrip().startswith("╭"):  # title, then the complaint
        return " ".join(lines[1:2])
    return lines[-1] if lines else "it failed without a message"
