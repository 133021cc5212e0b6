"""Each instant belongs to one part: what parts have adds up to all there was."""

import numpy as np
import pytest

from new_algorithm.profiling.spans import Spans


class Clock:
    """Seconds that pass when told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


ROOT, OUTER, INNER = (("root", None), ("outer", None), ("inner", 1))


def test_time_is_the_innermost_calls_and_adds_up():
    clock = Clock()
    spans = Spans(ROOT, clock)
    clock.now = 100.0
    spans.start("time")
    for seconds, act in (
        (1, lambda: spans.enter(OUTER)),
        (2, lambda: spans.enter(INNER)),
        (4, lambda: spans.enter(INNER)),  # recursion: no further call
        (8, spans.leave),
        (16, spans.leave),
        (32, spans.leave),
        (64, spans.stop),
    ):
        clock.now += seconds
        act()
    clock.now += 1000  # nothing is measured
    assert {key[0]: part.seconds for key, part in spans.parts.items()} == {
        "root": 1 + 64,
        "outer": 2 + 32,
        "inner": 4 + 8 + 16,
    }
    assert spans.seconds == 127
    assert [spans.parts[key].calls for key in (ROOT, OUTER, INNER)] == [0, 1, 1]


def test_memory_is_the_most_in_use_while_a_call_is_innermost():
    spans = Spans(ROOT)
    spans.start("memory")
    kept = np.ones(1_000_000, np.uint8)
    spans.enter(INNER)
    np.ones(3_000_000, np.uint8)  # given back at once
    spans.leave()
    spans.stop()
    assert spans.parts[ROOT].peak_bytes == pytest.approx(kept.nbytes, rel=0.1)
    assert spans.parts[INNER].peak_bytes == pytest.approx(4_000_000, rel=0.1)
    assert spans.parts[INNER].calls == 0  # of the steps that are timed alone
    assert spans.seconds == 0
