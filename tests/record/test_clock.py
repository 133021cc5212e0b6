import threading
import time

import pytest

from new_algorithm.record.clock import TrainingClock


def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_only_what_happens_inside_counts_and_it_adds_up():
    clock = TrainingClock()
    with clock:
        burn(0.03)
    burn(0.2)
    time.sleep(0.2)
    first = clock.cpu_seconds, clock.wall_seconds
    with clock:
        burn(0.03)
    assert 0.03 <= first[0] < 0.1
    assert 0.06 <= clock.cpu_seconds < 0.2
    assert clock.wall_seconds > first[1]


def test_sleeping_costs_wall_time_but_no_cpu_time():
    clock = TrainingClock()
    with clock:
        time.sleep(0.05)
    assert clock.wall_seconds >= 0.05
    assert clock.cpu_seconds < 0.04


def test_time_before_an_exception_counts():
    clock = TrainingClock()

    def train():
        with clock:
            burn(0.02)
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        train()
    assert clock.cpu_seconds >= 0.02


def test_cpu_seconds_are_those_of_all_threads():
    def spin(seconds=0.2):
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    clock = TrainingClock()
    with clock:
        thread = threading.Thread(target=spin)
        thread.start()
        thread.join()
    assert clock.cpu_seconds >= 0.2
