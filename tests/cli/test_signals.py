"""Signals between steps, in this process; of whole scripts: tests/test_scripts.py."""

import os
import signal

import numpy as np
import pytest

from new_algorithm.cli.pauses import Pauses
from new_algorithm.cli.ranks import Ranks
from new_algorithm.cli.signals import (
    ENDING,
    Stopped,
    held,
    stopping_on_signals,
    unstoppable,
    waiting,
    whole_steps,
)


@pytest.fixture(autouse=True)
def heeded():
    """All signals as a terminal leaves them."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ENDING}
    with stopping_on_signals():
        yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


def stopped_by(train):
    with pytest.raises(Stopped) as ended:
        train()
    return ended.value.signal


@pytest.mark.parametrize("number", ENDING)
def test_signal_is_an_exception_with_its_status(number):
    with pytest.raises(Stopped) as ended:
        send(number)
    assert (ended.value.code, ended.value.signal) == (128 + number, number)


def test_signal_ends_the_steps_after_the_one_under_way():
    done = []

    def train():
        for item in whole_steps(range(5)):
            if item == 2:
                send()
            done.append(item)

    stopped_by(train)
    assert done == [0, 1, 2]


def test_signal_waits_until_the_end_of_what_holds_it():
    done = []

    def train():
        with held():
            with held():
                send(signal.SIGHUP)
                assert waiting() == signal.SIGHUP
            done.append(True)

    assert stopped_by(train) == signal.SIGHUP
    assert done
    assert waiting() is None


def test_second_signal_does_not_wait():
    done = []

    @held()
    def train():
        send(signal.SIGINT)
        send(signal.SIGTERM)
        done.append(True)

    assert stopped_by(train) == signal.SIGTERM
    assert not done
    assert waiting() is None


def test_error_goes_before_a_signal_that_waits():
    @held()
    def train():
        send()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    assert waiting() is None
    with held():
        pass


def test_ignored_signals_stay_so():
    with unstoppable():
        for number in ENDING:
            send(number)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    with stopping_on_signals():
        send(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


class WithSignalledTwin(Ranks):
    """Beside a rank that a signal has come to."""

    size = 2

    def all_sum(self, array):
        array += [number == signal.SIGQUIT for number in (*ENDING, None)]


def test_all_ranks_pause_for_the_signal_of_one():
    pauses = Pauses(WithSignalledTwin())
    with held():
        assert pauses.due()
        with pytest.raises(Stopped) as ended:
            pauses.go_on()
    assert ended.value.signal == signal.SIGQUIT


def test_checkpoint_is_due_after_so_many_minutes(monkeypatch):
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    pauses, without = Pauses(minutes=2), Pauses()
    found = []
    for now in np.arange(160.0, 500.0, 60.0):  # noqa: B007 the clock reads it
        found.append(pauses.due())
        if found[-1]:
            pauses.go_on()
        assert not without.due()
    assert found == [False, True, False, True, False, True]
