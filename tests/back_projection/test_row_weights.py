"""Rows that do not count alike: weights that are whole numbers are repeated rows."""

from dataclasses import replace

import numpy as np
import pytest

from new_algorithm.back_projection.eigenbasis import leading_eigenbasis
from new_algorithm.back_projection.optimizer import BackProjection
from new_algorithm.back_projection.solvers import Penalties
from new_algorithm.back_projection.step_control import TrustRegion
from tests.back_projection.problems import (
    LOSSES,
    Problem,
    assert_near,
    by_cg,
    factored,
    gradient,
    helped_cg,
    problem,
)

COUNTS = np.random.default_rng(5).integers(0, 4, 30)  # some rows are not there at all
SOLVERS = {"factored": factored, "cg": by_cg, "helped cg": helped_cg, "gradient": gradient}


def weighted(made: Problem) -> list:
    """The rows with weights of mean 1."""
    return [(made.inputs, made.targets, COUNTS / COUNTS.mean())]


def repeated(made: Problem) -> list:
    return [(made.inputs.repeat(COUNTS, axis=0), made.targets.repeat(COUNTS, axis=0))]


@pytest.mark.parametrize("loss", LOSSES)
def test_the_value_of_a_loss_is_that_of_repeated_rows(loss):
    made, rng = problem(loss=loss, rows=len(COUNTS)), np.random.default_rng(1)
    outputs = rng.standard_normal((len(COUNTS), made.weights[-1].shape[1]))
    value = made.loss.value(outputs, made.targets, COUNTS / COUNTS.mean())
    repeats = outputs.repeat(COUNTS, axis=0), made.targets.repeat(COUNTS, axis=0)
    assert value == pytest.approx(made.loss.value(*repeats), rel=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("lambda_h", [0.4, np.inf])
@pytest.mark.parametrize("options", [{}, {"pass_residual": True}, {"after_layer": lambda _: None}])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_sweep_over_weighted_rows_is_one_over_repeated_rows(loss, options, lambda_h, solver):
    if solver == "gradient" and np.isfinite(lambda_h):
        pytest.skip("gradients are of λ_h = ∞")
    made = problem(loss=loss, rows=len(COUNTS))
    sweeps = []
    for rows in weighted(made), repeated(made):
        solvers = [SOLVERS[solver](Penalties(0.3, lambda_h)) for _ in made.weights]
        sweep = replace(made, inputs=rows[0][0]).sweep(solvers, **options)  # room for the rows
        before = sweep(made.weights, rows)
        sweeps.append((before, sweep.loss(made.weights, rows), sweep))
    (before, loss_of, one), (before_2, loss_of_2, other) = sweeps
    assert before == pytest.approx(before_2, rel=1e-12)
    assert loss_of == pytest.approx(loss_of_2, rel=1e-12)
    assert_near(one.moments.flat, other.moments.flat)
    assert_near(one.changes.flat, other.changes.flat, 1e-7 if "cg" in solver else 1e-9)


def test_chunks_of_weighted_rows_add_up_to_the_whole_batch():
    made = problem(rows=len(COUNTS))
    rows = weighted(made)[0]
    cut = [tuple(array[:11] for array in rows), tuple(array[11:] for array in rows)]
    found = []
    for batch, in_chunks in (([rows], False), (cut, True)):
        sweep = made.sweep([factored(Penalties(0.3)) for _ in made.weights], in_chunks=in_chunks)
        found.append((sweep(made.weights, batch), sweep))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-12)
    assert_near(found[0][1].changes.flat, found[1][1].changes.flat)


def test_training_on_weighted_rows_is_training_on_repeated_ones():
    made, trained = problem(rows=len(COUNTS)), []
    for rows in weighted(made), repeated(made):
        solvers = [factored(Penalties(0.3), 0.9) for _ in made.weights]
        options = {"chunk_rows": len(rows[0][0]), "judge_every": 1}
        network = BackProjection(made.weights, made.loss, solvers, TrustRegion(), **options)
        for _ in range(30):
            network.step(rows)
        trained.append(np.concatenate([weight.ravel() for weight in network.weights]))
    assert_near(*trained, 1e-6)
    assert np.linalg.norm(trained[0]) > 1


@pytest.mark.parametrize("rank", [None, 4])
def test_the_eigenbasis_of_weighted_rows_is_that_of_repeated_ones(rank):
    x = np.random.default_rng(2).standard_normal((len(COUNTS), 7)) @ np.diag(np.arange(1.0, 8))
    basis, projected = leading_eigenbasis(x, rank, row_weights=COUNTS / COUNTS.mean())
    expected, _ = leading_eigenbasis(x.repeat(COUNTS, axis=0), rank)
    assert_near(basis.values, expected.values)
    assert_near(np.abs(np.sum(basis.vectors * expected.vectors, axis=0)), 1.0)  # but for signs
    assert basis.mean_eigenvalue == pytest.approx(expected.mean_eigenvalue)
    assert basis.explained == pytest.approx(expected.explained)
    assert_near(projected, basis.project(x))
