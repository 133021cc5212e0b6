"""Directions, planes and lines among parameters: norms, invariances, closed forms of the loss."""

import numpy as np
import pytest
import torch
from torch import nn

from new_algorithm.analysis.subject import outputs_of
from new_algorithm.analysis.weight_space import (
    LossSurface,
    barrier,
    filter_normalised,
    on_line,
    on_plane,
    parameters_of,
    path_plane,
    random_walk_shares,
)
from tests.analysis.subjects import relu_subject


def drawn(network, seed=0):
    return filter_normalised(network, torch.Generator().manual_seed(seed))


def pieces(network, theta):
    sizes = [p.numel() for p in network.parameters()]
    return [
        (p.detach(), part.view(p.shape))
        for p, part in zip(network.parameters(), theta.split(sizes), strict=True)
    ]


def test_each_filter_of_a_direction_is_as_long_as_the_networks_and_the_rest_stays():
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 4)
    ).double()
    moved = []
    for weight, piece in pieces(network, drawn(network)):
        if weight.dim() == 1:
            assert not piece.any()
            continue
        moved.append(piece)
        for row, filter_ in zip(piece, weight, strict=True):
            assert float(row.norm()) == pytest.approx(float(filter_.norm()), rel=1e-12)
    assert len(moved) == 2
    # directions are those of normal draws: uncorrelated with the weights and with each other
    big = nn.Linear(2000, 3)
    one, two = (pieces(big, drawn(big, seed))[0][1] for seed in (0, 1))
    for other in (two, big.weight.detach()):
        assert nn.functional.cosine_similarity(one, other).abs().max() < 0.1  # 4 / √2000


def test_the_surface_is_the_networks_own_loss_and_accuracy_at_its_parameters():
    subject = relu_subject()
    values = LossSurface(subject, 40, 0, 1).at(parameters_of(subject.network))
    for part in subject.parts:
        x, y = subject.rows(part, 40, 0)
        outputs = outputs_of(subject.network, x)
        assert values[f"{part}_loss"] == pytest.approx(float(subject.objective(outputs, y)))
        right = float((outputs.argmax(1) == y).double().mean())
        assert values[f"{part}_accuracy"] == pytest.approx(right)


def test_a_plane_has_the_losses_of_networks_with_those_parameters():
    subject = relu_subject()
    network, surface = subject.network, LossSurface(subject, 40, 0, 1)
    origin, directions = parameters_of(network), [drawn(network, seed) for seed in (0, 1)]
    assert surface.linear(origin) is not None
    for row in on_plane(surface, origin, directions, np.array([-0.5, 0.4]), np.array([0.7])):
        theta = origin + row["a"] * directions[0] + row["b"] * directions[1]
        assert row == pytest.approx({"a": row["a"], "b": row["b"], **surface.at(theta)})
    end = origin + directions[0]
    for row in on_line(surface, origin, end, np.array([0.0, 0.3, 1.0])):
        theta = torch.lerp(origin, end, row["t"])
        assert row == pytest.approx({"t": row["t"], **surface.at(theta)})


def test_the_landscape_of_a_linear_network_is_the_quadratic_of_its_loss():
    subject = relu_subject("regression", widths=())
    network, surface = subject.network, LossSurface(subject, 50, 0, 1)
    directions = [drawn(network, seed) for seed in (0, 1)]
    x, y = subject.rows("train", 50, 0)
    features = torch.cat([x, torch.ones(len(x), 1)], dim=1)  # H̃

    def folded(theta):
        (_, weight), (_, bias) = pieces(network, theta)
        return torch.cat([weight, bias[:, None]], dim=1).T  # W̃

    residual = y - features @ folded(parameters_of(network))
    changes = [features @ folded(direction) for direction in directions]
    n = len(x)
    steps = np.array([-1.0, 0.3, 2.0])
    for row in on_plane(surface, parameters_of(network), directions, steps, steps):
        # L(a, b) = 1/(2n) ‖R − a H̃D₁ − b H̃D₂‖², multiplied out
        v = torch.tensor([row["a"], row["b"]], dtype=torch.float64)
        gradient = torch.stack([-(c * residual).sum() / n for c in changes])
        hessian = torch.stack([torch.stack([(c * d).sum() / n for d in changes]) for c in changes])
        expected = residual.square().sum() / (2 * n) + v @ gradient + v @ hessian @ v / 2
        assert row["train_loss"] == pytest.approx(float(expected), rel=1e-10)


def test_the_landscape_does_not_see_the_scale_of_layers():
    """Li et al. 2018, section 4: filters c times as long and the next layer's as much shorter are
    the same function, and the same picture."""
    subject, scaled = relu_subject(), relu_subject()
    first, second = scaled.network[0], scaled.network[2]
    with torch.no_grad():
        first.weight *= 7
        first.bias *= 7
        second.weight /= 7
    steps = np.linspace(-1, 1, 4)
    planes = [
        on_plane(
            LossSurface(one, 40, 0, 1),
            parameters_of(one.network),
            [drawn(one.network, seed) for seed in (3, 4)],
            steps,
            steps,
        )
        for one in (subject, scaled)
    ]
    for here, there in zip(*planes, strict=True):
        assert here == pytest.approx(there, rel=1e-9)


def test_batch_norms_have_the_statistics_of_the_point():
    """A network with a norm after a layer is blind to the layer's scale, also along a line."""
    subject = relu_subject()
    norm = nn.BatchNorm1d(5, eps=1e-14).double().eval()
    network = nn.Sequential(subject.network[0], norm, *subject.network[1:])
    subject = type(subject)(**{**vars(subject), "network": network})
    theta = parameters_of(network)
    surface = LossSurface(subject, 40, 0, 1)
    larger = theta.clone()
    larger[: 20 * 5 + 5] *= 3
    at, there = surface.at(theta), surface.at(larger)
    assert at == pytest.approx(there, rel=1e-9)
    x, y = subject.rows("train", 40, 0)
    mean, variance = (f(network[0](x), dim=0).detach() for f in (torch.mean, torch.var))
    hidden = (network[0](x) - mean) / variance.sqrt()
    expected = subject.objective(outputs_of(network[2:], hidden), y)
    assert at["train_loss"] == pytest.approx(float(expected), rel=1e-9)
    assert not norm.running_mean.any()  # the subject's own stays


def test_the_plane_of_a_path_in_a_plane_holds_all_of_it():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((30, 2)))[0].T
    places = rng.standard_normal((6, 2)) * [3, 1]
    path = [torch.from_numpy(row) for row in places @ basis + rng.standard_normal(30)]
    plane = path_plane(path)
    assert plane.shares.sum() == pytest.approx(1)
    assert plane.shares[:2].sum() == pytest.approx(1)
    np.testing.assert_allclose(plane.directions @ plane.directions.T, np.eye(2), atol=1e-12)
    steps = (torch.stack(path) - path[-1]).numpy()
    np.testing.assert_allclose(plane.coordinates @ plane.directions.numpy(), steps, atol=1e-12)
    assert (plane.coordinates[0] >= 0).all()
    centred = places - places.mean(axis=0)
    singular, directions = np.linalg.svd(centred, full_matrices=False)[1:]
    np.testing.assert_allclose(plane.shares[:2], singular**2 / (singular**2).sum())
    # the same coordinates, found in the plane alone, up to the sign of each direction
    expected = (places - places[-1]) @ directions.T
    np.testing.assert_allclose(plane.coordinates, expected * np.where(expected[0] < 0, -1, 1))


def test_shares_of_a_random_walk():
    n = 7
    differences = np.diff(np.eye(n), axis=0)
    eigenvalues = 1 / np.linalg.eigvalsh(differences @ differences.T)
    np.testing.assert_allclose(random_walk_shares(n), eigenvalues / eigenvalues.sum())
    k = np.arange(1, 4)
    np.testing.assert_allclose(random_walk_shares(3000)[:3], 6 / (np.pi * k) ** 2, rtol=1e-3)
    steps = torch.randn(n, 100_000, generator=torch.Generator().manual_seed(0))
    walked = path_plane(list(steps.cumsum(0)))
    np.testing.assert_allclose(walked.shares, random_walk_shares(n), rtol=0.03)


def test_barriers_of_known_functions():
    t = np.linspace(0, 1, 41)
    assert barrier(t, 2 - t)[0] == pytest.approx(0, abs=1e-12)
    assert barrier(t, (t - 0.3) ** 2)[0] == 0  # convex: below the chord
    height, place = barrier(t, 1 + 2 * t + 5 * t * (1 - t))
    assert height == pytest.approx(5 / 4)
    assert place == pytest.approx(1 / 2)


def test_a_line_begins_and_ends_with_its_networks():
    subject, other = relu_subject(seed=0), relu_subject(seed=1)
    surface = LossSurface(subject, 40, 0, 1)
    start, end = (parameters_of(one.network) for one in (subject, other))
    rows = on_line(surface, start, end, np.linspace(0, 1, 5))
    assert rows[0] == pytest.approx({"t": 0.0, **surface.at(start)})
    x, y = subject.rows("test", 40, 0)
    expected = float(subject.objective(outputs_of(other.network, x), y))
    assert rows[-1]["test_loss"] == pytest.approx(expected)
    assert rows[2] == pytest.approx({"t": 0.5, **surface.at((start + end) / 2)})


def test_rows_are_fewer_where_points_are_many():
    subject = relu_subject(rows=300)
    assert LossSurface(subject, 300, 0, 10).count == 300
    assert LossSurface(subject, 300, 0, 10**12).count == 20
    some = LossSurface(subject, 300, 0, 10**7)
    operations = 2 * (20 * 5 + 5 * 4 + 4 * 4)  # of a row
    assert some.count == min(300, int(2e12 / (2 * 10**7 * operations)))
