"""Vector figures repeat byte for byte, whatever the last bits of their layout."""

import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from new_algorithm.plots.style import save_figure


def drawn(path, shift=0.0):
    figure = Figure()
    axes = figure.subplots(1, 2)
    for panel in axes:
        panel.plot(np.arange(5) + shift, np.arange(5) ** 2, marker="o")
        panel.set_position(np.array(panel.get_position().bounds) + shift)
    save_figure(figure, path)
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["svg", "pdf"])
def test_the_same_figure_gives_the_same_bytes(kind, tmp_path):
    assert drawn(tmp_path / f"a.{kind}") == drawn(tmp_path / f"b.{kind}")


def test_positions_that_differ_in_their_last_bits_give_the_same_bytes(tmp_path):
    assert drawn(tmp_path / "a.svg") == drawn(tmp_path / "b.svg", shift=1e-14)


def test_every_name_that_is_used_is_defined_once(tmp_path):
    text = drawn(tmp_path / "a.svg").decode()
    defined = re.findall(r'\bid="(path-\d+)"', text)
    used = re.findall(r'(?:url\(|href=")#(path-\d+)', text)
    assert len(set(defined)) == len(defined) >= 3  # a clip for each panel, and markers
    assert set(used) == set(defined)
