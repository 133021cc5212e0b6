"""The interval plot shows each effect, its interval and whether it is significant."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from new_algorithm.experiments.leaderboard import Comparison, Standing
from new_algorithm.experiments.quantities import Effect, metric
from new_algorithm.experiments.report_figures import draw_intervals
from new_algorithm.experiments.statistics import Summary

DIFFERENCE = Effect("difference", 1, "difference")
IMPORTANCE = Effect("importance", -1, "importance")
EFFECTS = {  # mean, half width of the interval, p
    "better": (0.02, 0.005, 0.001),
    "much the same": (-0.001, 0.004, 0.7),
    "worse": (-0.01, 0.002, 0.01),
}


def standing(name, mean, half, p):
    ends = (None, None) if half is None else (mean - half, mean + half)
    difference = Summary(mean, half, *ends, 10)
    comparison = Comparison(difference, p, p, p, 1.0, None)
    return Standing(name, difference, comparison, 0, False)


def drawn(effects, shown_as=DIFFERENCE):
    standings = [Standing("baseline", None, None, 0, True)]
    standings += [standing(name, *numbers) for name, numbers in effects.items()]
    figure = Figure()
    styles = {name: {"color": "red"} for name in effects}
    draw_intervals(figure, standings, metric("accuracy"), shown_as, styles)
    (axes,) = figure.axes
    return axes


def points(axes):
    """x by line of the plot, and whether it is filled."""
    marks = [line for line in axes.lines if line.get_marker() == "o"]
    return {
        int(np.ravel(mark.get_ydata())[0]): (
            float(np.ravel(mark.get_xdata())[0]),
            mark.get_markerfacecolor() != "white",
        )
        for mark in marks
    }


@pytest.mark.parametrize(("shown_as", "sign"), [(DIFFERENCE, 1), (IMPORTANCE, -1)])
def test_effects_and_intervals_in_their_sign(shown_as, sign):
    axes = drawn(EFFECTS, shown_as)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(EFFECTS)
    found = points(axes)
    low, high = axes.get_xlim()
    bars = [line.get_xdata() for line in axes.lines if line.get_linestyle() == "-"][:-1]  # not 0
    for line, (mean, half, p) in enumerate(EFFECTS.values()):
        assert found[line] == (pytest.approx(sign * mean), p < 0.05)
        np.testing.assert_allclose(bars[line], [sign * mean - half, sign * mean + half])
        assert low < sign * mean - half < sign * mean + half < high
    assert low < 0 < high


def test_numbers_stand_beside():
    texts = [text.get_text() for text in drawn(EFFECTS).texts]
    assert texts[0] == "+0.0200  [+0.0150, +0.0250]"
    assert texts[2] == "−0.0100  [−0.0120, −0.0080]"


def test_one_far_beyond_the_others_is_an_arrow_with_its_number():
    axes = drawn({**EFFECTS, "hopeless": (-0.9, 0.1, 0.0)})
    assert axes.get_xlim()[0] > -0.1
    assert len(points(axes)) == len(EFFECTS)
    (arrow,) = (line for line in axes.lines if line.get_marker() == "<")
    assert list(arrow.get_ydata()) == [3]
    assert axes.texts[3].get_text().startswith("−0.9000")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mean", [0.0, 0.1])
def test_one_seed_has_no_interval(mean):
    axes = drawn({"alone": (mean, None, None)})
    assert points(axes) == {0: (pytest.approx(mean), False)}
    assert "[" not in axes.texts[0].get_text()
