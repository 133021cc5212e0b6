"""Which steps are profiled, and that nothing is outside of the training clock."""

from collections import Counter

from new_algorithm.profiling.session import by_the_clock
from new_algorithm.profiling.windows import BLOCK, MEMORY_STEPS, TRIAL, WARM_UP, Windows, kind_of
from new_algorithm.record.clock import TrainingClock


class Told:
    """A profiler that remembers when it was on."""

    rounds, block = 2, BLOCK

    def __init__(self):
        self.calls = []

    def start(self, kind):
        self.calls.append(("start", kind))

    def stop(self, kind):
        self.calls.append(("stop", kind))


def test_as_many_steps_with_the_profile_as_without_it():
    kinds = Counter(kind_of(step, rounds=2) for step in range(1000))
    assert kinds.pop("over") == 1000 - sum(kinds.values())
    expected = {"warm-up": WARM_UP - TRIAL, "trial": TRIAL, "memory": MEMORY_STEPS}
    assert kinds == expected | {"profiled": 2 * BLOCK, "plain": 2 * BLOCK}


def test_steps_are_counted_while_the_clock_runs_and_the_profiler_is_on_in_its_blocks():
    told, ended = Told(), []
    windows = Windows(told, lambda: ended.append(windows.steps))
    step = windows.ending(lambda: None)
    whole = WARM_UP + 4 * BLOCK + MEMORY_STEPS
    for epoch in range(2):
        windows.resume()
        for _ in range(WARM_UP + 5 if epoch == 0 else whole):
            step()
        windows.pause()
        step()  # an evaluation makes no step
    assert {kind: taken.steps for kind, taken in windows.taken.items()} == {
        "warm-up": WARM_UP - TRIAL,
        "trial": TRIAL,
        "profiled": 2 * BLOCK,
        "plain": 2 * BLOCK,
        "memory": MEMORY_STEPS,
    }
    on = [("start", "profiled"), ("stop", "profiled")]
    # the first block is in two parts, of the two epochs
    trial, memory = ([(call, kind) for call in ("start", "stop")] for kind in ("trial", "memory"))
    assert told.calls == trial + 3 * on + memory
    assert ended == [whole]


def test_a_step_inside_of_a_step_is_none():
    windows = Windows(Told())
    inner = windows.ending(lambda: 1)
    outer = windows.ending(lambda: inner() + inner())
    windows.resume()
    assert outer() == 2
    windows.pause()
    assert windows.steps == 1


def test_a_profiler_may_ask_for_shorter_blocks():
    kinds = Counter(kind_of(step, rounds=1, block=4) for step in range(100))
    assert (kinds["profiled"], kinds["plain"], kinds["memory"]) == (4, 4, MEMORY_STEPS - 1)


def test_steps_of_another_training_are_not_counted():
    windows, ours, other = Windows(Told()), TrainingClock(), TrainingClock()
    step = windows.ending(lambda: None)
    with by_the_clock(windows):
        for clock in (ours, other, ours):
            with clock:
                step()
    assert windows.steps == 2
