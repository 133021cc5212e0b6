"""The house style, and vector figures that repeat byte for byte."""

import re
from itertools import pairwise

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from new_algorithm.plots.style import HOUSE_STYLE, STYLE_CYCLE, draw

FIXED = ["black", "red", "blue", "brown", "purple", "green"]


def test_the_fixed_colours_come_first_and_the_rest_of_tab10_after():
    colours = [style["color"] for style in STYLE_CYCLE[:11]]
    assert colours[:6] == FIXED
    assert len(set(colours)) == 11
    assert all(colour.startswith("tab:") for colour in colours[6:])


def test_neighbours_differ_in_line_and_marker_and_no_style_repeats_soon():
    for first, second in pairwise(STYLE_CYCLE):
        assert first["linestyle"] != second["linestyle"]
        assert first["marker"] != second["marker"]
    assert len({tuple(style.values()) for style in STYLE_CYCLE[:100]}) == 100


def test_red_green_and_brown_differ_by_more_than_colour():
    styles = [style for style in STYLE_CYCLE[:6] if style["color"] in ("red", "green", "brown")]
    assert len({style["marker"] for style in styles}) == 3


def test_curves_take_the_styles_in_order_and_the_settings_stay_inside():
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context(HOUSE_STYLE):
        axes = Figure().add_subplot()
        lines = [axes.plot([0, 1])[0] for _ in range(7)]
    assert [line.get_color() for line in lines[:6]] == FIXED
    assert [line.get_marker() for line in lines] == [style["marker"] for style in STYLE_CYCLE[:7]]
    assert dict(matplotlib.rcParams) == before


def drawn(shift=0.0):
    def fill(figure):
        for panel in figure.subplots(1, 2):
            panel.plot(np.arange(5) + shift, np.arange(5) ** 2, marker="o")
            panel.set_position(np.array(panel.get_position().bounds) + shift)

    return draw(fill, kind="svg")


def test_the_same_figure_gives_the_same_bytes():
    assert drawn() == drawn()


def test_positions_that_differ_in_their_last_bits_give_the_same_bytes():
    assert drawn() == drawn(shift=1e-14)


def test_every_name_that_is_used_is_defined_once():
    text = drawn().decode()
    defined = re.findall(r'\bid="(path-\d+)"', text)
    used = re.findall(r'(?:url\(|href=")#(path-\d+)', text)
    assert len(set(defined)) == len(defined) >= 3  # a clip for each panel, and markers
    assert set(used) == set(defined)
