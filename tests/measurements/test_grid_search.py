"""The best of a grid."""

import numpy as np

from new_algorithm.measurements.grid_search import describe, grid, search
from new_algorithm.record.measurement import Score


def test_grid_has_every_combination_once():
    settings = grid(lr=(1.0, 2.0), batch_size=(3,), epochs=(4, 5))
    assert len(settings) == 4
    assert {(flags["lr"], flags["epochs"]) for flags in settings} == {
        (1.0, 4),
        (1.0, 5),
        (2.0, 4),
        (2.0, 5),
    }


def method_of(lr):
    """AUC peaks at lr 2; each seed adds its own noise."""

    def train(data, seed):
        auc = np.nan if lr > 4 else 0.9 - 0.1 * abs(lr - 2) + 0.01 * seed
        return Score(lr, 0.0, 0.0, 1.0 + seed, True, auc)

    return train


def test_highest_mean_auc_wins_and_a_run_without_one_never_does():
    best, rows = search("a", grid(lr=(9.0, 1.0, 2.0, 3.5)), method_of, None, seeds=(0, 2))
    assert best == {"lr": 2.0}
    assert [row["setting"] for row in rows] == ["lr 9", "lr 1", "lr 2", "lr 3.5"]
    np.testing.assert_allclose(rows[2]["auc"], 0.91)
    assert rows[2]["cpu_s"] == 2.0


def test_settings_in_words():
    assert describe({"lr": 1e-3, "step_bounds": (1e-3, 0.05)}) == "lr 0.001 step_bounds 0.001/0.05"
