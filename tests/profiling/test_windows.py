"""Which steps are profiled, and that nothing is outside of the training clock."""

from collections import Counter

from new_algorithm.profiling.windows import BLOCK, MEMORY_STEPS, WARM_UP, Windows, kind_of


class Told:
    """A profiler that remembers when it was on."""

    rounds = 2

    def __init__(self):
        self.calls = []

    def start(self, kind):
        self.calls.append(("start", kind))

    def stop(self, kind):
        self.calls.append(("stop", kind))


def test_as_many_steps_with_the_profile_as_without_it():
    kinds = Counter(kind_of(step, rounds=2) for step in range(1000))
    assert kinds.pop("over") == 1000 - sum(kinds.values())
    expected = {"warm-up": WARM_UP, "memory": MEMORY_STEPS}
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
        "warm-up": WARM_UP,
        "profiled": 2 * BLOCK,
        "plain": 2 * BLOCK,
        "memory": MEMORY_STEPS,
    }
    on = [("start", "profiled"), ("stop", "profiled")]
    # the first block is in two parts, of the two epochs
    assert told.calls == 3 * on + [("start", "memory"), ("stop", "memory")]
    assert ended == [whole]


def test_a_step_inside_of_a_step_is_none():
    windows = Windows(Told())
    inner = windows.ending(lambda: 1)
    outer = windows.ending(lambda: inner() + inner())
    windows.resume()
    assert outer() == 2
    windows.pause()
    assert windows.steps == 1
