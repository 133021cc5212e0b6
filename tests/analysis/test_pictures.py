"""Rows as pictures: every pixel in its place, whichever way the colours lie."""

import numpy as np
import pytest

from new_algorithm.analysis.pictures import in_unit_range, pictures


@pytest.mark.parametrize("shape", [(4, 5), (1, 4, 5), (4, 5, 1)])
def test_grey_pictures_have_two_dimensions(shape):
    image = np.arange(20.0).reshape(4, 5)
    np.testing.assert_array_equal(pictures(image.reshape(1, -1), shape), image[None])


@pytest.mark.parametrize("first", [True, False])
def test_colours_come_last_wherever_they_were(first):
    image = np.random.default_rng(0).random((2, 4, 5, 3))
    given = np.moveaxis(image, -1, 1) if first else image
    np.testing.assert_array_equal(pictures(given.reshape(2, -1), given.shape[1:]), image)


def test_pixels_come_back_from_colours_scaled_as_one():
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (30, 4, 5, 3)) / 255
    pixels[0, 0, 0], pixels[1, 0, 0] = 0, 1
    mean, sd = rng.random(3), rng.uniform(0.2, 0.3, 3)
    scaled = (pixels - mean) / sd
    np.testing.assert_allclose(in_unit_range(scaled[:7], scaled), pixels[:7], atol=1e-12)


def test_a_single_value_is_black():
    flat = np.full((3, 4, 5), 7.0)
    np.testing.assert_array_equal(in_unit_range(flat, flat), np.zeros((3, 4, 5)))
