import numpy as np

from datasets.strokes import CLASSES, SEED, TESTED, TRAINING, load_strokes, strokes


def test_images_in_the_unit_interval_the_same_for_a_seed():
    images = strokes(6, 5, seed=3, size=20)
    assert (images.shape, images.dtype) == ((6, 5, 20, 20), np.float32)
    assert images.min() >= 0
    assert images.max() <= 1
    assert (images.max(axis=(2, 3)) > 0.9).all()  # every image has ink
    assert (np.median(images, axis=(2, 3)) < 0.1).all()  # and is paper for the most part
    np.testing.assert_array_equal(images, strokes(6, 5, seed=3, size=20))
    assert not np.array_equal(images, strokes(6, 5, seed=4, size=20))


def test_classes_can_be_told_apart_but_not_by_pixels_alone():
    """One example of each of 20 classes: the nearest image is right well above chance, .05."""
    for seed in range(3):
        images = strokes(20, 20, seed).reshape(20, 20, -1)
        learnt, named = images[:, 0], images[:, 1:]
        distance = np.linalg.norm(named[:, :, None] - learnt, axis=-1)
        accuracy = np.mean(distance.argmin(axis=2) == np.arange(20)[:, None])
        assert 0.2 < accuracy < 0.8


def test_resolution_does_not_change_what_is_drawn():
    fine, coarse = strokes(4, 3, 0, size=56), strokes(4, 3, 0, size=28)
    pooled = fine.reshape(4, 3, 28, 2, 28, 2).mean(axis=(3, 5))
    assert np.abs(pooled - coarse).max() < 0.15


def test_rows_are_the_images_in_turns_and_none_is_in_two_parts():
    images = strokes(CLASSES, TRAINING + TESTED, SEED)
    whole = load_strokes()
    np.testing.assert_array_equal(
        whole.x_test[: 2 * CLASSES, 0], images[:, :2].swapaxes(0, 1).reshape(-1, 28, 28)
    )
    assert whole.y_train[: 2 * CLASSES].tolist() == [*range(CLASSES)] * 2
    chosen = load_strokes(held_out="validation")
    parts = [chosen.x_train, chosen.x_test, whole.x_test]
    rows = np.concatenate(parts).reshape(-1, 28 * 28)
    assert len(np.unique(rows, axis=0)) == len(rows) == CLASSES * (TRAINING + TESTED)
    limited = load_strokes(train_limit=40, test_limit=30)
    assert (len(limited.x_train), len(limited.x_test)) == (40, 30)
