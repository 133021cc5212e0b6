"""How a run is ended from without, as exceptions, and how it ended, read off its exception."""

import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from new_algorithm.cli.errors import DivergedError, UserError

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM


def sigterm_exits() -> AbstractContextManager[None]:
    """Inside, SIGTERM raises SystemExit(143), so that open `with` blocks close in order."""
    return _handled(lambda *_: sys.exit(TERMINATED), signal.SIGTERM)


def uninterrupted() -> AbstractContextManager[None]:
    """Inside, Ctrl-C and SIGTERM are ignored; for the moment of a last save."""
    return _handled(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM)


@contextmanager
def _handled(
    handler: Callable[..., Any] | signal.Handlers, *numbers: signal.Signals
) -> Iterator[None]:
    previous = [signal.signal(number, handler) for number in numbers]
    try:
        yield
    finally:
        for number, former in zip(numbers, previous, strict=True):
            signal.signal(number, former)


def outcome(error: BaseException | None) -> str:
    """completed, interrupted, diverged or failed."""
    if error is None or (isinstance(error, SystemExit) and not error.code):
        return "completed"
    if _stopped_by(error):
        return "interrupted"
    return "diverged" if isinstance(error, DivergedError) else "failed"


def reason(error: BaseException) -> str:
    """One line for run.json and the note."""
    if by := _stopped_by(error):
        return f"stopped by {by}"
    if isinstance(error, UserError):
        return str(error)
    return " ".join("".join(traceback.format_exception_only(error)).split())


def log_entry(error: BaseException) -> str:
    """What the log keeps: a line for the user's mistake, otherwise the traceback."""
    if isinstance(error, UserError):
        return f"error: {error}\n"
    return "".join(traceback.format_exception(error))


def _stopped_by(error: BaseException) -> str | None:
    if isinstance(error, KeyboardInterrupt):
        return "Ctrl-C"
    terminated = isinstance(error, SystemExit) and error.code == TERMINATED
    return "SIGTERM" if terminated else None
