"""The training clock, on a machine whose time stands still unless told otherwise."""

from types import SimpleNamespace

import pytest

from new_algorithm.record import clock as module
from new_algorithm.record.clock import TrainingClock


@pytest.fixture
def now(monkeypatch):
    """now.cpu and now.wall: what the process (all its threads) and the wall clock show."""
    now = SimpleNamespace(cpu=100.0, wall=500.0)
    clocks = {"process_time": lambda: now.cpu, "perf_counter": lambda: now.wall}
    monkeypatch.setattr(module, "time", SimpleNamespace(**clocks))
    return now


def test_only_what_happens_inside_counts_and_it_adds_up(now):
    clock = TrainingClock()
    for cpu, wall in ((2.0, 1.5), (0.25, 4.0)):
        now.cpu, now.wall = now.cpu + 10, now.wall + 10  # evaluation
        with clock:
            now.cpu, now.wall = now.cpu + cpu, now.wall + wall
    now.cpu, now.wall = now.cpu + 10, now.wall + 10
    assert (clock.cpu_seconds, clock.wall_seconds) == (2.25, 5.5)


def test_time_before_an_exception_counts(now):
    clock = TrainingClock()

    def train():
        with clock:
            now.cpu += 2.0
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        train()
    assert clock.cpu_seconds == 2.0


def test_time_of_a_training_that_is_pulled_is_its_own(now):
    clock = TrainingClock()

    def training():
        for number in range(3):
            now.cpu += 2.0
            yield number

    seen = []
    for number in clock.around(training()):
        now.cpu += 10  # evaluation
        seen.append((number, clock.cpu_seconds))
    assert seen == [(0, 2.0), (1, 4.0), (2, 6.0)]
