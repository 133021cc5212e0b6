"""The map of accuracy and train loss over both penalties."""

from itertools import product

import numpy as np
import pytest
from matplotlib.figure import Figure

from new_algorithm.measurements.lambda_map import draw_lambda_map
from new_algorithm.record.files import save_csv

DEPTHS, LAMBDA_W, LAMBDA_H = (2, 8), (0.01, 1.0, 100.0), (0.1, 10.0, np.inf)


def rows(**changed):
    """Each cell's accuracy tells where it belongs; changed: of the last cell."""
    found = [
        {
            "hidden_layers": depth,
            "lambda_w": w,
            "lambda_h": h,
            "accuracy": 0.9 + depth / 1000 + i / 100 + j / 1000,
            "train_loss": 0.1 + depth + i / 10 + j / 100,
        }
        for depth, (i, w), (j, h) in product(DEPTHS, enumerate(LAMBDA_W), enumerate(LAMBDA_H))
    ]
    found[-1] |= changed
    return found


def drawn(folder, table):
    save_csv(folder / "map.csv", table)
    figure = Figure()
    draw_lambda_map(figure, folder / "map.csv")
    return [axes for axes in figure.axes if axes.get_title()]


def written(axes):
    """The number in each cell, by (λ_w, λ_h) as the axes name them."""
    names_h, names_w = (
        [t.get_text() for t in axis.get_ticklabels()] for axis in (axes.xaxis, axes.yaxis)
    )
    cells = ((text.get_position(), text.get_text()) for text in axes.texts)
    return {(names_w[round(y)], names_h[round(x)]): number for (x, y), number in cells}


def test_each_cell_shows_its_number_under_its_penalties(tmp_path):
    table = rows()
    panels = drawn(tmp_path, table[::-1])  # whatever the order of the file
    assert len(panels) == 2 * len(DEPTHS)
    for index, (depth, name) in enumerate(product(DEPTHS, ("accuracy", "train_loss"))):
        assert f"{depth} hidden layers" in panels[index].get_title()
        assert written(panels[index]) == {
            (
                f"{row['lambda_w']:g}",
                "∞" if np.isinf(row["lambda_h"]) else f"{row['lambda_h']:g}",
            ): f"{row[name]:.3f}"
            for row in table
            if row["hidden_layers"] == depth
        }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("loss", [np.inf, np.nan])
def test_cell_that_diverged_is_drawn_beside_the_others(tmp_path, loss):
    panels = drawn(tmp_path, rows(accuracy=0.1, train_loss=loss))
    assert written(panels[-1])["100", "∞"] == f"{loss:.3f}"


@pytest.mark.filterwarnings("error")
def test_missing_cells_and_a_single_one_are_no_trouble(tmp_path):
    assert len(drawn(tmp_path, rows()[:4])) == 2
    assert len(drawn(tmp_path, rows()[:1])) == 2


def test_better_is_brighter_in_both_panels(tmp_path):
    accuracy, loss = drawn(tmp_path, rows())[:2]
    for axes, best in ((accuracy, np.argmax), (loss, np.argmin)):
        image = axes.images[0]
        colours = image.cmap(image.norm(image.get_array()))[..., :3].sum(axis=-1)
        assert colours.argmax() == best(image.get_array())
