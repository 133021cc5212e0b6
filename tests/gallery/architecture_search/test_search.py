"""The search as a whole, and the images: same seed same bits, ways that must agree, crops."""

import numpy as np
import pytest
import torch

from new_algorithm.cli.errors import DivergedError
from new_algorithm.gallery.architecture_search.bilevel import ImplicitSettings
from new_algorithm.gallery.architecture_search.cells import Plan
from new_algorithm.gallery.architecture_search.genotypes import KINDS
from new_algorithm.gallery.architecture_search.images import PADDING, load_images, shift_and_mirror
from new_algorithm.gallery.architecture_search.rows import Rows, scores_of
from new_algorithm.gallery.architecture_search.search import SearchSettings, retrain, search

PLAN = Plan(1, 3, channels=2, cells=3, nodes=1)


def rows(count=24, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    x = rng.standard_normal((count, 1, 8, 8)) + labels[:, None, None, None]
    return Rows.of(x.astype(np.float32), labels, torch.device("cpu"))


def searched(way="second-order", damping=40.0, alpha_lr=0.01, epochs=2, **options):
    settings = SearchSettings(
        way=way,
        epochs=epochs,
        batch_size=8,
        alpha_lr=alpha_lr,
        implicit=ImplicitSettings(damping, **options),
    )
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    return list(search(PLAN.mixture(), *rows().halves(rng), 1, settings, rng))


def test_same_seed_same_bits():
    first, second = searched(), searched()
    assert [epoch.train_loss for epoch in first] == [epoch.train_loss for epoch in second]
    for kind in KINDS:
        assert torch.equal(first[-1].alphas[kind], second[-1].alphas[kind])
        assert not torch.equal(first[0].alphas[kind], first[-1].alphas[kind])
    assert first[-1].rows(1) == second[-1].rows(1)


def test_gradients_whose_conditions_fail_give_way_to_second_order_and_are_counted():
    first, second, undamped = searched("first-order"), searched(), searched("implicit", 1e-6)
    for kind in KINDS:
        assert not torch.equal(second[-1].alphas[kind], first[-1].alphas[kind])
        assert torch.equal(second[-1].alphas[kind], undamped[-1].alphas[kind])
    counted = undamped[0].hypergradients
    assert counted.failed.total() == counted.asked == 1
    assert counted.row()["implicit_gradients_failed"] == 1


def test_implicit_gradients_whose_conditions_hold_are_taken():
    damped, second = searched("implicit", 3000.0, epochs=1), searched(epochs=1)
    counted = damped[0].hypergradients
    assert (counted.asked, counted.failed.total()) == (1, 0)
    assert counted.stationarity < 0.1
    assert not torch.equal(damped[0].alphas["normal"], second[0].alphas["normal"])


def test_shares_of_each_edge_sum_to_1():
    table = searched("first-order", epochs=1)[0].rows(1)
    assert len(table) == 2 * 2 * 10  # kinds, edges, operations
    for kind in KINDS:
        for source in range(2):
            of_edge = [
                row["share"] for row in table if (row["kind"], row["source"]) == (kind, source)
            ]
            assert sum(of_edge) == pytest.approx(1, abs=1e-6)


def test_divergence_is_named():
    with pytest.raises(DivergedError, match=r"epoch 1: the loss is nan.*--alpha-lr"):
        searched("first-order", alpha_lr=float("inf"))


def test_derived_networks_learn_and_halves_share_no_row():
    data = rows(60)
    halves = data.halves(np.random.default_rng(0))
    together = torch.cat([half.x for half in halves]).flatten(1)
    assert len(torch.unique(together, dim=0)) == 60
    torch.manual_seed(0)
    network = PLAN.derived(searched("first-order", epochs=1)[0].genotype(1))
    before = scores_of(network, data)
    rng = np.random.default_rng(0)
    assert list(retrain(network, data, epochs=20, batch_size=10, lr=0.1, rng=rng)) == [
        *range(1, 21)
    ]
    after = scores_of(network, data)
    assert after.loss < 0.5 * before.loss
    assert after.accuracy > 0.9


def test_images_are_moved_and_mirrored_one_by_one():
    x = torch.arange(2.0 * 6 * 5).reshape(1, 2, 6, 5).repeat(40, 1, 1, 1) + 1
    varied = shift_and_mirror(x, np.random.default_rng(0))
    rng = np.random.default_rng(0)
    down, right = rng.integers(0, 2 * PADDING + 1, (2, 40, 1))
    mirrored = rng.random((40, 1)) >= 0.5
    assert 0 < mirrored.sum() < 40
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (PADDING,) * 2, (PADDING,) * 2))
    for i, image in enumerate(varied.numpy()):
        d, r = int(down[i, 0]), int(right[i, 0])
        crop = padded[i, :, d : d + 6, r : r + 5]
        np.testing.assert_array_equal(image, crop[:, :, ::-1] if mirrored[i, 0] else crop)


def test_invented_images_take_turns_and_leave_rows_for_validation():
    data = load_images("strokes", "test", 40, 30, None)
    assert data.x_train.shape == (40, 1, 28, 28)
    assert data.y_train.tolist() == [*range(10)] * 4
    assert data.x_train.dtype == np.float32
    whole = load_images("strokes", "validation", None, None, None)
    rows_of_both = np.concatenate([whole.x_train, whole.x_test]).reshape(3000, -1)
    assert len(np.unique(rows_of_both, axis=0)) == 3000
    assert len(whole.x_test) == 3000 // 6
