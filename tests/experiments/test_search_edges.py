"""What lies at an edge of a space is told."""

import pytest

from new_algorithm.experiments.search import at_an_edge
from new_algorithm.methods.method import Choice, Range


@pytest.mark.parametrize(
    ("values", "value", "edge"),
    [
        (Range(1e-4, 1.0), 1e-4, True),
        (Range(1e-4, 1.0), 1.4e-4, True),  # 4% of the four decades
        (Range(1e-4, 1.0), 1.8e-4, False),  # 6%
        (Range(1e-4, 1.0), 0.5, False),
        (Range(1e-4, 1.0), 0.7, True),
        (Choice((32, 64, 128)), 32, True),
        (Choice((32, 64, 128)), 64, False),
        (Choice((128, 32, 64)), 128, True),
        (Choice((0.0, 0.95)), 0.95, False),  # of two, each is an end
        (Choice(("exact", "cg3", "cg5")), "cg5", False),
        (Choice((False, True)), True, False),
    ],
)
def test_ends_of_ranges_and_of_numbers_are_edges(values, value, edge):
    inner = {"inner": Range(1.0, 100.0), "setting": values}
    found = at_an_edge(inner, {"inner": 10.0, "setting": value})
    assert found == (["setting"] if edge else [])
