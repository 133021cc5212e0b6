"""How a run ended, read off the exception that left its `with` block."""

import traceback

from new_algorithm.cli.errors import DivergedError, UserError
from new_algorithm.cli.signals import TERMINATED


def outcome(error: BaseException | None) -> str:
    """completed, interrupted, diverged or failed."""
    if error is None:
        return "completed"
    if isinstance(error, KeyboardInterrupt) or _is_sigterm(error):
        return "interrupted"
    if isinstance(error, SystemExit) and not error.code:
        return "completed"
    if isinstance(error, DivergedError):
        return "diverged"
    return "failed"


def reason(error: BaseException) -> str:
    """One line for run.json and the note."""
    if isinstance(error, KeyboardInterrupt):
        return "stopped by Ctrl-C"
    if _is_sigterm(error):
        return "stopped by SIGTERM"
    if isinstance(error, UserError):
        return str(error)
    return " ".join("".join(traceback.format_exception_only(error)).split())


def log_entry(error: BaseException) -> str:
    """What the log keeps: a line for the user's mistake, otherwise the traceback."""
    if isinstance(error, UserError):
        return f"error: {error}\n"
    return "".join(traceback.format_exception(error))


def _is_sigterm(error: BaseException) -> bool:
    return isinstance(error, SystemExit) and error.code == TERMINATED
