"""Signals that end a script: SIGTERM, Ctrl-C, SIGQUIT, SIGHUP. Each becomes an exception, so that
open `with` blocks close in order, and waits for the step of a training that is under way."""

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


class Stopped(SystemExit):
    """A signal has come; the program ends with status 128 + its number."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number)


class _Desk:
    """Of this process: the signal that waits, how many blocks want it to, who counts steps."""

    waiting: signal.Signals | None = None
    holds = 0
    counting: Callable[[], None] | None = None


_desk = _Desk()


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Inside, a signal raises Stopped: at once, or where `held` and `whole_steps` let it.

    A second one raises it in any case. A signal that is ignored stays so, as nohup wants it.
    """
    numbers = [one for one in ENDING if signal.getsignal(one) != signal.SIG_IGN]
    with _handled(_receive, numbers):
        yield


def unstoppable() -> AbstractContextManager[None]:
    """Inside, the signals are ignored; for the moment of a last save."""
    return _handled(signal.SIG_IGN, ENDING)


def waiting() -> signal.Signals | None:
    """Return the signal that has come inside `held`, None as long as none has."""
    return _desk.waiting


@contextmanager
def held() -> Iterator[None]:
    """Inside, a first signal waits; it raises Stopped at the end, unless an error does."""
    _desk.holds += 1
    try:
        yield
        if _desk.holds == 1:
            _stop_if_asked()
    finally:
        _desk.holds -= 1
        if not _desk.holds:
            _desk.waiting = None


def whole_steps(items: Iterable[Item]) -> Iterator[Item]:
    """Yield the items, each the work of one step; a signal raises Stopped between two of them."""
    _desk.holds += 1
    try:
        for item in items:
            yield item
            step_done()
            _stop_if_asked()
    finally:
        _desk.holds -= 1


@contextmanager
def counting_steps(count: Callable[[], None]) -> Iterator[None]:
    """Inside, `count` is called after every step of a training; what it raises ends that."""
    _desk.counting = count
    try:
        yield
    finally:
        _desk.counting = None


def step_done() -> None:
    """A step of a training is over; `whole_steps` says so itself."""
    if _desk.counting is not None:
        _desk.counting()


def _stop_if_asked() -> None:
    if (number := _desk.waiting) is not None:
        _desk.waiting = None
        raise Stopped(number)


def _receive(number: int, _: Any) -> None:
    if _desk.holds and _desk.waiting is None:
        _desk.waiting = signal.Signals(number)
        return
    _desk.waiting = None
    raise Stopped(number)


@contextmanager
def _handled(
    handler: Callable[..., Any] | signal.Handlers, numbers: Iterable[signal.Signals]
) -> Iterator[None]:
    previous = [(number, signal.signal(number, handler)) for number in numbers]
    try:
        yield
    finally:
        for number, former in previous:
            signal.signal(number, former)
