"""The maps of what a run recorded of its layers."""

import numpy as np
import pytest
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from new_algorithm.plots.run_figures import MAPS, SHARES, draw_layer_maps

EPOCHS, LAYERS = 3, 4


def series(**arrays):
    """A sound run: the value of quantity q in epoch e (from 1) at layer l is q + e/10 + l/100."""
    values = np.add.outer(np.arange(1, EPOCHS + 1) / 10, np.arange(1, LAYERS + 1) / 100)
    found = {name: index + values for index, name in enumerate(MAPS, start=1)}
    return {"epoch": np.arange(1, EPOCHS + 1)} | found | arrays


def drawn(**arrays):
    """The maps by the name of their quantity; laying them out takes a second."""
    figure = Figure()
    draw_layer_maps(figure, series(**arrays))
    meshes = {axes.get_title(): axes.collections[0] for axes in figure.axes if axes.get_title()}
    return {name: meshes[title] for name, title in MAPS.items()}


def test_every_quantity_stands_layers_upwards_and_epochs_to_the_right():
    maps, recorded = drawn(), series()
    for name, drawn_map in maps.items():
        shown = drawn_map.get_array().reshape(LAYERS, EPOCHS)
        kept = ~np.ma.getmaskarray(shown)
        np.testing.assert_array_equal(shown[kept], recorded[name].T[kept])
        assert isinstance(drawn_map.norm, LogNorm) == (name not in SHARES)


def test_output_layer_has_no_active_share():
    hidden = np.ma.getmaskarray(drawn()["active_share"].get_array()).reshape(LAYERS, EPOCHS)
    assert hidden[-1].all()
    assert not hidden[:-1].any()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_what_a_logarithm_cannot_show_is_left_blank(bad):
    values = np.ones((EPOCHS, LAYERS))
    values[1, 2] = bad
    hidden = np.ma.getmaskarray(drawn(actual_decrease=values)["actual_decrease"].get_array())
    assert np.argwhere(hidden.reshape(LAYERS, EPOCHS)).tolist() == [[2, 1]]


@pytest.mark.filterwarnings("error")
def test_quantity_of_which_nothing_can_be_shown_is_an_empty_map():
    assert drawn(actual_decrease=np.full((EPOCHS, LAYERS), np.nan))["actual_decrease"] is not None


@pytest.mark.parametrize(("epochs", "layers"), [(1, LAYERS), (EPOCHS, 1)])
def test_single_epoch_or_layer_is_visible(epochs, layers):
    one = {
        name: values[:epochs] if values.ndim == 1 else values[:epochs, :layers]
        for name, values in series().items()
    }
    corners = drawn(**one)["change_norms"].get_coordinates()
    assert np.ptp(corners[..., 0]) > 0
    assert np.ptp(corners[..., 1]) > 0


def test_recorded_arrays_stay_as_they_are():
    recorded = series()
    copies = {name: values.copy() for name, values in recorded.items()}
    figure = Figure()
    draw_layer_maps(figure, recorded)
    for name, values in copies.items():
        np.testing.assert_array_equal(recorded[name], values)
