"""What tasks are made of: no row on both sides, labels that mean nothing, true waves."""

import numpy as np
import pytest
import torch

from new_algorithm.gallery.meta_learning.episodes import (
    FREQUENCIES,
    INPUTS,
    new_classes,
    sinusoids,
    with_rotations,
)

CPU = torch.device("cpu")


def numbered(classes, each):
    """Examples that say which they are: (class, example)."""
    grid = np.stack(np.meshgrid(np.arange(classes), np.arange(each), indexing="ij"), -1)
    return torch.from_numpy(grid.astype(np.float32))


def test_rows_are_of_the_class_that_their_label_stands_for_and_none_is_asked_that_was_learnt():
    draw = new_classes(numbered(9, 7), ways=4, shots=2, queries=3)
    tasks = draw(np.random.default_rng(0), 50).whole()
    assert tasks.x.shape == (50, 8, 2)
    assert tasks.new_x.shape == (50, 12, 2)
    for x, y, new_x, new_y in zip(tasks.x, tasks.y, tasks.new_x, tasks.new_y, strict=True):
        meaning = {int(label): int(kind) for label, (kind, _) in zip(y, x, strict=True)}
        assert sorted(meaning) == [0, 1, 2, 3]
        assert len(set(meaning.values())) == 4
        for label, (kind, _) in [*zip(y, x, strict=True), *zip(new_y, new_x, strict=True)]:
            assert meaning[int(label)] == int(kind)
        assert len({tuple(row.tolist()) for row in torch.cat((x, new_x))}) == 20
        assert torch.bincount(y).tolist() == [2] * 4
        assert torch.bincount(new_y).tolist() == [3] * 4


def test_places_are_rows_in_one_array_and_parts_are_copies_of_these_alone():
    examples, ways, shots, queries = numbered(9, 7), 4, 2, 3
    drawn = new_classes(examples, ways, shots, queries)(np.random.default_rng(0), 5)
    rng = np.random.default_rng(0)  # the same tasks, all their rows copied
    classes = rng.random((5, 9)).argsort(1)[:, None, :ways]
    order = rng.random((5, ways, 7)).argsort(2)[:, :, : shots + queries].swapaxes(1, 2)
    rows = examples[classes, order].flatten(1, 2)
    parts = list(drawn.parts(2))
    assert [len(part) for part in parts] == [2, 2, 1]
    for name, expected in (("x", rows[:, : shots * ways]), ("new_x", rows[:, shots * ways :])):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), expected)
    assert torch.equal(torch.cat([part.new_y for part in parts]), drawn.tasks.new_y)
    assert drawn.asked == parts[0].asked == ways * queries * 2
    assert drawn.rows.data_ptr() == examples.data_ptr()


def test_a_class_has_every_label_about_as_often():
    draw = new_classes(numbered(6, 2), ways=3, shots=1, queries=1)
    tasks = draw(np.random.default_rng(1), 3000).whole()
    kinds, labels = tasks.x[..., 0].long().flatten(), tasks.y.flatten()
    counts = torch.bincount(kinds * 3 + labels, minlength=18)
    assert counts.min() > 400  # of 500 expected
    assert counts.max() < 600


@pytest.mark.parametrize("wrong", [{"ways": 4}, {"shots": 4}])
def test_too_few_classes_or_examples_are_refused(wrong):
    with pytest.raises(ValueError, match="3 classes of 5"):
        new_classes(numbered(3, 5), **({"ways": 2, "shots": 1, "queries": 2} | wrong))


def test_a_turned_image_is_a_class_of_its_own():
    images = np.arange(8.0).reshape(2, 1, 2, 2)
    turned = with_rotations(images)
    assert turned.shape == (8, 1, 2, 2)
    for kind in range(2):
        expected = images[kind, 0]
        for turns in range(4):
            np.testing.assert_array_equal(turned[2 * turns + kind, 0], expected)
            expected = expected.T[::-1]  # by 90° against the clock


@pytest.mark.parametrize("frequencies", [(1.0, 1.0), FREQUENCIES])
def test_every_task_is_one_wave(frequencies):
    tasks = sinusoids(5, 30, CPU, frequencies=frequencies)(np.random.default_rng(0), 200)
    x, y = torch.cat((tasks.x, tasks.new_x), 1), torch.cat((tasks.y, tasks.new_y), 1)
    assert x.min() >= INPUTS[0]
    assert x.max() <= INPUTS[1]
    best = torch.full((200,), torch.inf)
    for frequency in np.linspace(*frequencies, 81):  # a wave is linear in the sine and the cosine
        features = torch.cat((torch.sin(frequency * x), torch.cos(frequency * x)), -1).double()
        weights = torch.linalg.lstsq(features, y.double()).solution
        error = (features @ weights - y).square().mean((1, 2)).sqrt()
        amplitude = weights.square().sum((1, 2)).sqrt()
        best = torch.minimum(best, error / amplitude)
    assert best.max() < 0.02  # of the amplitude: the grid's frequencies are a two-hundredth apart
    if frequencies == (1.0, 1.0):
        assert best.max() < 1e-4
        assert 0.1 <= amplitude.min() < 0.3
        assert 4.7 < amplitude.max() < 5.001
        phase = torch.atan2(-weights[:, 1, 0], weights[:, 0, 0])  # a sin(x − p)
        assert phase.min() > -1e-3
        assert phase.max() < np.pi + 1e-3


def test_the_same_seed_draws_the_same_tasks_and_parts_are_these_tasks():
    first, again, other = (
        sinusoids(3, 4, CPU)(np.random.default_rng(seed), 7) for seed in (5, 5, 6)
    )
    assert torch.equal(first.y, again.y)
    assert not torch.equal(first.y, other.y)
    parts = first.parts(3)
    assert [len(part) for part in parts] == [3, 3, 1]
    assert torch.equal(torch.cat([part.new_y for part in parts]), first.new_y)
