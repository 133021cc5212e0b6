"""Vector figures repeat byte for byte, whatever the last bits of their layout."""

import re

import numpy as np

from new_algorithm.plots.style import draw


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
