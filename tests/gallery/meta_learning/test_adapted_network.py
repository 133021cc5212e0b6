"""The network of one task against the learner that makes it, outputs and record alike."""

import pytest
import torch

from new_algorithm.gallery.meta_learning.adapted_network import adapted_network
from new_algorithm.gallery.meta_learning.by_name import learner_of
from new_algorithm.gallery.meta_learning.evaluation import scores
from new_algorithm.gallery.meta_learning.learners import adapted
from new_algorithm.gallery.meta_learning.tasks import Demand, make_problem

LEARNERS = [
    ("maml", 0.01, 2),
    ("reptile", 0.01, 3),
    ("implicit", 0.01, 2),
    ("layer-problem", 0.01, 1),
    ("warm-layer-problem", 0.01, 2),
]


@pytest.mark.parametrize(("name", "rate", "steps"), LEARNERS)
@pytest.mark.parametrize("task", ["waves", "strokes"])
def test_on_new_rows_it_has_the_learners_outputs_and_in_the_mean_its_scores(
    task, name, rate, steps
):
    demand = Demand(task, 3 if task == "strokes" else None, 2, "test", 3)
    problem = make_problem(demand, 0, None, torch.device("cpu"))
    learner = learner_of(name, problem.model, rate, steps)
    theta = learner.start(problem.model.start(0))
    losses, right = [], []
    for one in problem.held_out.parts(1):
        network = adapted_network(learner, theta, one)
        outputs = network(one.new_x[0]).detach()
        phi = adapted(learner, theta, one.x, one.y)
        expected = problem.model.predict(phi, one.new_x)[0]
        torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-4)
        alone = torch.cat([network(row) for row in one.new_x[0].split(1)])
        torch.testing.assert_close(alone, outputs, rtol=1e-4, atol=1e-4)
        losses.append(problem.model.errors(outputs[None], one.new_y))
        right.append((outputs.argmax(1) == one.new_y[0].flatten()).double().mean())
    recorded = scores(learner, theta, problem.held_out)
    assert float(torch.cat(losses).mean()) == pytest.approx(recorded.loss, rel=1e-4)
    if demand.ways is not None:
        assert float(torch.stack(right).mean()) == pytest.approx(recorded.accuracy, abs=1e-6)
