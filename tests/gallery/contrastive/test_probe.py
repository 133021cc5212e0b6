"""Read-outs against dense solutions, cross-validation by brute force, and slow neighbours."""

import math

import numpy as np
import torch

from new_algorithm.back_projection.layer_problem import mean_eigenvalue_of_gram, objective
from new_algorithm.back_projection.network import append_ones
from new_algorithm.gallery.contrastive.neighbours import TEMPERATURE, nearest_neighbours
from new_algorithm.gallery.contrastive.probe import (
    PENALTIES,
    Moments,
    fit_probe,
    solutions,
    stratified_folds,
)


def clusters(seed=0, n=90, d=7, classes=3, spread=1.5):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % classes)
    centres = rng.standard_normal((classes, d))
    x = centres[labels] + spread * rng.standard_normal((n, d)) + 5
    return x.astype(np.float32), labels


def dense(x, labels, classes, penalty):
    """Ridge regression on centred rows by the normal equations: W and bias."""
    x = x.astype(np.float64)
    mean, targets = x.mean(0), np.eye(classes)[labels]
    centred, shares = x - mean, targets.mean(0)
    g = centred.T @ centred / len(x)
    damping = penalty * np.trace(g) / len(g) * np.eye(len(g))
    weight = np.linalg.solve(g + damping, centred.T @ (targets - shares) / len(x))
    return weight, shares - mean @ weight


def test_every_penalty_has_the_dense_solution():
    x, labels = clusters()
    found = list(solutions(Moments.of(x.astype(float), np.eye(3)[labels])))
    assert len(found) == len(PENALTIES)
    for penalty, (weight, bias) in zip(PENALTIES, found, strict=True):
        expected, expected_bias = dense(x, labels, 3, penalty)
        np.testing.assert_allclose(weight, expected, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(bias, expected_bias, rtol=1e-6, atol=1e-8)


def test_it_is_the_minimum_of_the_layer_problem():
    x, labels = clusters()
    penalty = PENALTIES[5]
    weight, _ = list(solutions(Moments.of(x.astype(float), np.eye(3)[labels])))[5]
    inputs = append_ones((x - x.mean(0, dtype=float)).astype(float))
    delta = np.eye(3)[labels] - np.eye(3)[labels].mean(0)
    lambda_w = penalty * mean_eigenvalue_of_gram(inputs[:, :-1])
    none, no_change = np.zeros((8, 3)), np.zeros((len(x), 7))

    def value(change):
        return objective(inputs, none, delta, lambda_w, math.inf, change, no_change)

    change = np.vstack([weight, np.zeros(3)])
    least, rng = value(change), np.random.default_rng(1)
    for size in (1e-1, 1e-3):
        assert least < value(change + size * rng.standard_normal(change.shape))


def test_the_penalty_is_that_of_cross_validation_by_brute_force():
    chosen = set()
    for seed, spread in ((0, 1.5), (1, 3.0), (2, 6.0), (3, 12.0)):
        x, labels = clusters(seed, 60, 30, 3, spread)
        fold = stratified_folds(labels, np.random.default_rng(seed), 5)
        mistakes = []
        for penalty in PENALTIES:
            wrong = 0
            for one in range(5):
                weight, bias = dense(x[fold != one], labels[fold != one], 3, penalty)
                wrong += ((x[fold == one] @ weight + bias).argmax(1) != labels[fold == one]).sum()
            mistakes.append(wrong)
        best = max(
            p for p, wrong in zip(PENALTIES, mistakes, strict=True) if wrong == min(mistakes)
        )
        probe = fit_probe(x, labels, 3, np.random.default_rng(seed))
        assert probe.penalty == best
        weight, bias = dense(x, labels, 3, best)
        np.testing.assert_allclose(probe.weight, weight, rtol=1e-5, atol=1e-8)
        np.testing.assert_array_equal(probe.classes(x), (x @ weight + bias).argmax(1))
        chosen.add(best)
    assert len(chosen) > 1


def test_features_that_say_nothing_are_no_trouble():
    labels = np.arange(20) % 2
    probe = fit_probe(np.zeros((20, 3), np.float32), labels, 2, np.random.default_rng(0))
    assert np.isfinite(probe.weight).all()
    np.testing.assert_allclose(probe.bias, 0.5)


def test_folds_have_a_share_of_every_class():
    labels = np.repeat([0, 1, 2], [11, 23, 6])
    fold = stratified_folds(labels, np.random.default_rng(0), 5)
    assert np.ptp(np.bincount(fold)) <= 1
    for one in range(3):
        assert np.ptp(np.bincount(fold[labels == one], minlength=5)) <= 1


def slow_neighbours(x, labels, new_x, classes, k):
    found = []
    for row in new_x.tolist():

        def cosine(other, row=row):
            norms = math.hypot(*row) * math.hypot(*other)
            return sum(a * b for a, b in zip(row, other, strict=True)) / norms

        ranked = sorted(zip(map(cosine, x.tolist()), labels.tolist(), strict=True), reverse=True)
        votes = [0.0] * classes
        for likeness, label in ranked[:k]:
            votes[label] += math.exp(likeness / TEMPERATURE)
        found.append(votes.index(max(votes)))
    return found


def test_neighbours_vote_as_one_by_one():
    x, labels = clusters(4)
    x, new_x = torch.from_numpy(x - 5), torch.from_numpy(clusters(5)[0] - 5)
    for k in (1, 4, 20, 500):
        found = nearest_neighbours(x, torch.from_numpy(labels), new_x, 3, k)
        assert found.tolist() == slow_neighbours(x, labels, new_x, 3, k)
