"""Epochs are parts of a pass: as equal as whole batches allow, none empty or across two passes."""

from itertools import product

import pytest

from datasets import load_dataset
from new_algorithm.methods.method import Problem
from new_algorithm.methods.passes import Passes


@pytest.mark.parametrize(("rows", "size", "parts"), [*product((1, 7, 100), (1, 3, 64), (1, 3, 4))])
def test_parts_of_a_pass_are_its_batches_about_equally_many_in_each(rows, size, parts):
    passes = Passes.over(rows, size, parts)
    assert passes.batch_size * passes.batches <= rows
    assert rows - passes.batch_size * passes.batches < passes.batch_size
    steps = [passes.steps_of(epoch) for epoch in range(1, 3 * passes.parts + 1)]
    for first in range(0, len(steps), passes.parts):
        assert sum(steps[first : first + passes.parts]) == passes.batches
    assert 1 <= min(steps) <= max(steps) <= min(steps) + 1
    assert sum(steps) == passes.steps(len(steps))


def test_fewer_batches_than_parts_are_an_epoch_each():
    assert Passes.over(300, 100, parts=4) == Passes(100, 3, parts=3)
    assert Passes.over(300, 512, parts=4) == Passes(300, 1, parts=1)


def test_passes_of_a_problem_are_over_its_training_rows():
    problem = Problem(load_dataset("synthetic", train_limit=300), (8,), 2, seed=0, parts=4)
    assert problem.passes(64) == Passes(64, 4, parts=4)
