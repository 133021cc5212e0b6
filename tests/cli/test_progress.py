"""Bars where somebody watches, and the estimate of the time left."""

import io
import multiprocessing
import sys
from contextlib import redirect_stderr
from types import SimpleNamespace

import pytest

from new_algorithm.cli import progress as module
from new_algorithm.cli.progress import Countdown, byte_progress, duration, progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def bars_of(steps=3):
    """What both kinds of bar write to a terminal."""
    with redirect_stderr(Terminal()) as terminal:
        assert list(progress(range(steps), "epoch 1", steps)) == list(range(steps))
        with Countdown(steps) as countdown:
            countdown.advance(steps)
    return terminal.getvalue()


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands at `now` seconds."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_bars_are_shown_on_a_terminal_and_count_to_the_end(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    shown = bars_of()
    assert "epoch 1" in shown
    assert "runs" in shown
    assert "0/3" in shown
    assert shown.endswith("\r")  # nothing of them is left


def test_bars_are_hidden_where_nobody_watches(capsys):
    assert list(progress(range(3), "epoch 1", 3)) == [0, 1, 2]
    with Countdown(3) as countdown:
        countdown.advance(3)
    assert "".join(capsys.readouterr()) == ""


def test_bars_are_hidden_where_stderr_is_closed(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert list(progress(range(3), "epoch 1", 3)) == [0, 1, 2]
    with byte_progress("reading", 10) as bar, Countdown(3) as countdown:
        bar.update(10)
        countdown.advance(3)


def test_bars_are_hidden_in_the_other_ranks(monkeypatch):
    monkeypatch.setattr(module, "rank_of_this_process", lambda: 1)
    assert bars_of() == ""


def test_bars_are_hidden_in_child_processes():
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(bars_of) == ""


def test_time_left_is_that_of_the_runs_of_now(clock, capsys):
    clock.now = 100.0
    with Countdown(10) as countdown:
        countdown.advance(4)  # done before: 6 are left
        clock.now += 10
        countdown.advance(1, "first")  # 10 s for one, and so 50 s for five
        countdown.advance(1)  # another that was done before: 5 in all
        clock.now += 20
        countdown.advance(2, "two at once")  # 30 s for three, and so 20 s for two
        clock.now += 9
        countdown.advance(2, "last")
    assert capsys.readouterr().out.splitlines() == [
        "[1/6, 50 s left] first",
        "[3/5, 20 s left] two at once",
        "[5/5, 0 s left] last",
    ]


def test_bar_counts_what_was_done_before_too(monkeypatch, capsys):
    monkeypatch.setattr(module, "_hidden", lambda: False)
    with redirect_stderr(Terminal()) as terminal, Countdown(10) as countdown:
        countdown.advance(4)
        countdown.advance(6, "the rest")
        assert countdown.n == countdown.total == 10
    assert "10/10" in terminal.getvalue()
    assert capsys.readouterr().out == "[6/6, 0 s left] the rest\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0 s"), (1.6, "2 s"), (89.4, "89 s"), (91, "2 min"), (600, "10 min")),
        *((5399, "90 min"), (5400, "1.5 h"), (86400, "24.0 h")),
    ],
)
def test_duration_is_in_the_unit_that_suits_it(seconds, text):
    assert duration(seconds) == text
