"""Views of rows: none at strength 0, one by one as in a batch, the same bits from the same seed."""

import math

import pytest
import torch

from new_algorithm.gallery.contrastive.augmentations import ImageViews, SeriesViews

CASES = [(ImageViews(), (5, 1, 12, 12)), (SeriesViews(), (5, 2, 20))]
IMAGES = dict.fromkeys(("degrees", "zoom", "shear", "shift", "bend", "pen", "erased", "noise"), 0.0)
SERIES = dict.fromkeys(("shift", "stretch", "scale", "tilt", "erased", "sway", "noise"), 0.0)


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(shape):
    return torch.rand(shape, generator=drawn(9))


@pytest.mark.parametrize(("views", "shape"), CASES)
def test_no_strength_is_no_change(views, shape):
    x = rows(shape)
    torch.testing.assert_close(views.scaled(0.0)(x, drawn()), x, rtol=0, atol=1e-5)
    assert views.scaled(1.0) == views


@pytest.mark.parametrize(("views", "shape"), CASES)
def test_a_batch_is_its_rows_one_by_one(views, shape):
    x, changes = rows(shape), views.draw(shape, drawn())
    together = views.change(x, changes)
    for row in range(len(x)):
        own = {name: values[row : row + 1] for name, values in changes.items()}
        alone = views.change(x[row : row + 1], own)
        torch.testing.assert_close(alone, together[row : row + 1])


@pytest.mark.parametrize(("views", "shape"), CASES)
def test_same_seed_same_bits_and_every_row_its_own_way(views, shape):
    x = rows(shape)[:1].expand(shape)
    first, again, other = (views(x, drawn(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])
    assert first.shape == x.shape


def test_images_stay_in_their_range():
    x = rows((50, 1, 12, 12)).round()
    changed = ImageViews(noise=0.5).scaled(3.0)(x, drawn())
    assert changed.min() >= 0
    assert changed.max() <= 1


def test_interpolated_series_stay_in_their_range():
    views = SeriesViews(**SERIES | {"shift": 0.5, "stretch": 1.0, "erased": 0.5})
    x = rows((50, 1, 20))
    changed = views(x, drawn())
    assert changed.min() >= 0
    assert changed.max() <= x.max() + 1e-6


def image_changes(views, shape, **given):
    return views.draw(shape, drawn()) | given


def test_a_quarter_turn_is_a_quarter_turn():
    views, x = ImageViews(**IMAGES), rows((2, 1, 9, 9))
    changes = image_changes(views, x.shape, angle=torch.full((2,), math.pi / 2))
    turned = views.change(x, changes)
    torch.testing.assert_close(turned, torch.rot90(x, 1, (2, 3)), rtol=0, atol=1e-5)


def test_a_shift_by_whole_pixels_brings_in_paper():
    views, x = ImageViews(**IMAGES), rows((1, 1, 10, 10))
    changes = image_changes(views, x.shape, shift=torch.tensor([[0.2, 0.0]]))
    shifted = views.change(x, changes)
    torch.testing.assert_close(shifted[..., :-2], x[..., 2:], rtol=0, atol=1e-5)
    assert shifted[..., -2:].abs().max() < 1e-5


def test_a_square_is_erased_and_no_more():
    views, x = ImageViews(**IMAGES), torch.ones(1, 1, 10, 10)
    at = {"erased_at": torch.tensor([[[0.0], [0.3]]]), "erased": torch.tensor([[0.4]])}
    erased = views.change(x, image_changes(views, x.shape, **at))
    expected = torch.ones(10, 10)
    expected[3:7, 6:] = 0  # rows 0.3 to 0.7, columns 0.6 to 1
    torch.testing.assert_close(erased[0, 0], expected, rtol=0, atol=1e-5)


def series_changed(x, **given):
    views = SeriesViews(**SERIES)
    given = {name: torch.full((len(x), 1), value) for name, value in given.items()}
    return views.change(x, views.draw(x.shape, drawn()) | given)


def test_series_shift_round_their_ends_scale_and_tilt():
    x = rows((3, 1, 20))
    torch.testing.assert_close(series_changed(x, shift=0.25), x.roll(-5, 2), rtol=0, atol=1e-5)
    torch.testing.assert_close(series_changed(x, scale=1.0), 2 * x)
    line = torch.linspace(-0.3, 0.3, 20)
    torch.testing.assert_close(series_changed(x, tilt=0.6), x + line)


def test_a_stretched_line_is_steeper_about_its_middle():
    line = torch.arange(21.0)[None, None]
    stretched = series_changed(line, stretch=-1.0)  # twice as long: every half step is seen
    torch.testing.assert_close(stretched[0, 0], 5 + torch.arange(21.0) / 2)


def test_a_pen_that_is_thicker_covers_the_neighbours_and_a_thin_one_needs_them():
    views, x = ImageViews(**IMAGES), torch.zeros(2, 1, 9, 9)
    x[:, :, 3:6, 4] = 1
    pen = torch.tensor([[1.0], [-1.0]])
    thick, thin = views.change(x, image_changes(views, x.shape, pen=pen))[:, 0]
    expected = torch.zeros(9, 9)
    expected[2:7, 3:6] = 1
    torch.testing.assert_close(thick, expected, rtol=0, atol=1e-5)
    assert thin.abs().max() < 1e-5


def test_smooth_noise_is_a_line_between_its_places():
    x = torch.zeros(1, 1, 19)
    views = SeriesViews(**SERIES)
    knots = torch.arange(6.0)[None, None]  # every third step of 18 or 19
    swayed = views.change(x, views.draw(x.shape, drawn()) | {"sway": knots})
    torch.testing.assert_close(swayed[0, 0], torch.linspace(0, 5, 19))
