"""Momentum contrast: a step written out, no gradient of keys, and what is read out."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from new_algorithm.gallery.contrastive.label_efficiency import labelled_rows, read_out, read_outs
from new_algorithm.gallery.contrastive.losses import info_nce
from new_algorithm.gallery.contrastive.moco import MomentumContrast, features, rate_schedule
from new_algorithm.gallery.contrastive.supervised import accuracy, train_supervised
from new_algorithm.gallery.contrastive.tasks import load_task
from new_algorithm.torch_optimizer import BackProjection


@pytest.fixture(scope="module")
def task():
    return load_task("strokes", None, "validation", 300, torch.device("cpu"))


def learner(task, seed=0, queue=50, momentum=0.9):
    torch.manual_seed(seed)
    objective = partial(info_nce, temperature=0.2)
    generator = torch.Generator().manual_seed(seed)
    return MomentumContrast(task.encoder(4), task.views, objective, momentum, queue, generator)


def trained(task, optimizer, epochs=6):
    one = learner(task, momentum=0.99)
    x = task.train[0]
    one.fill_queue(x, 32)
    optimizer = optimizer(one.query)
    schedule = rate_schedule(optimizer, epochs * (len(x) // 32))
    return one, [one.epoch(x, 32, optimizer, schedule) for _ in range(epochs)]


@pytest.mark.parametrize("steps", range(1, 31))
def test_rates_of_any_number_of_steps_rise_and_fall(steps):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.5)
    schedule, rates = rate_schedule(optimizer, steps), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    top = int(np.argmax(rates))
    assert rates[0] == pytest.approx(0.5 / 25)  # OneCycleLR's own
    assert (np.diff(rates[: top + 1]) > 0).all()
    assert (np.diff(rates[top:]) < 0).all()
    if steps > 1:
        assert 0.45 < rates[top] <= 0.5
        assert top <= 0.1 * steps + 1
    if steps > 10:
        assert rates[-1] < 0.001 * rates[top]


def test_an_epoch_of_one_batch_written_out(task):
    one, slow = learner(task), learner(task)
    x = task.train[0][:20]
    optimizer = torch.optim.SGD(one.query.parameters(), 0.1)
    constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    loss = one.epoch(x, 20, optimizer, constant)

    order = torch.randperm(20, generator=slow.generator)
    views = slow.views(torch.cat([x[order], x[order]]), slow.generator)
    keys = F.normalize(slow.key(views[20:]), dim=1)
    query = F.normalize(slow.query(views[:20]), dim=1)
    expected = info_nce(query, keys, slow.queue.keys, 0.2)
    gradients = torch.autograd.grad(expected, list(slow.query.parameters()))
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    pairs = zip(slow.query.parameters(), gradients, slow.key.parameters(), strict=True)
    for (p, g, key), now, followed in zip(
        pairs, one.query.parameters(), one.key.parameters(), strict=True
    ):
        torch.testing.assert_close(now, p - 0.1 * g, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(followed, 0.9 * key + 0.1 * now, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(one.queue.keys[:20], keys, rtol=1e-4, atol=1e-5)
    assert torch.equal(one.queue.keys[20:], slow.queue.keys[20:])


def test_keys_have_no_gradient(task):
    one = learner(task)
    loss, keys = one.loss(task.train[0][:10])
    loss.backward()
    assert not keys.requires_grad
    assert not one.queue.keys.requires_grad
    assert all(p.grad is None for p in one.key.parameters())
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in one.query.parameters())


def test_queue_begins_with_keys_of_as_many_rows(task):
    one = learner(task, queue=70)  # no multiple of the batch
    one.fill_queue(task.train[0], 32)
    assert one.queue.next == 0
    torch.testing.assert_close(one.queue.keys.norm(dim=1), torch.ones(70))


@pytest.mark.parametrize(
    "optimizer",
    [lambda m: torch.optim.Adam(m.parameters(), 3e-3), partial(BackProjection, lambda_w=4.0)],
    ids=["adam", "back-projection"],
)
def test_training_lowers_the_loss_and_repeats_its_bits(task, optimizer):
    one, losses = trained(task, optimizer)
    again, same = trained(task, optimizer)
    assert losses == same
    assert losses[-1] < np.log(1 + 50) - 0.3  # less than of all keys alike
    scores = one.geometry(task.held_out[0], 0)
    assert scores == one.geometry(task.held_out[0], 0) == again.geometry(task.held_out[0], 0)
    assert 0 < scores.alignment < 4
    assert scores.uniformity < 0
    assert len(one.weight_norms()) == 6


def test_labelled_rows_are_even_over_the_classes_and_nested(task):
    labels = task.data.y_train
    few, more = (labelled_rows(task, count, 3).numpy() for count in (25, 120))
    np.testing.assert_array_equal(few, more[:25])
    assert np.ptp(np.bincount(labels[few], minlength=10)) <= 1
    assert np.bincount(labels[more]).tolist() == [12] * 10
    everything = labelled_rows(task, len(labels), 3)
    assert sorted(everything.tolist()) == list(range(len(labels)))
    assert labelled_rows(task, 25, 4).tolist() != few.tolist()


def test_features_that_name_the_class_are_read_out_without_mistakes(task):
    answers = {x.numpy().tobytes(): int(y) for x, y in zip(*task.train, strict=True)}
    answers |= {x.numpy().tobytes(): int(y) for x, y in zip(*task.held_out, strict=True)}

    def known(x):
        return F.one_hot(torch.tensor([answers[row.numpy().tobytes()] for row in x]), 10).float()

    found = read_out(known, task, 20, 0)
    assert (found.probe, found.knn) == (1.0, 1.0)


def test_read_outs_by_several_counts_are_those_of_each_and_represent_held_out_rows_once(task):
    calls = []

    def represent(x):
        calls.append(len(x))
        return x.flatten(1)

    found = read_outs(represent, task, (20, 50, 200), 1)
    held_out = len(task.held_out[0])
    assert sorted(calls) == sorted([held_out, 20, 50, 200])
    for count, scores in found.items():
        alone = read_out(represent, task, count, 1)
        assert scores[:2] == alone[:2]
        np.testing.assert_array_equal(scores.fitted.weight, alone.fitted.weight)
    assert found[200].probe > found[20].probe


def test_supervised_training_keeps_what_was_best_on_validation_rows(task):
    torch.manual_seed(0)
    rows = labelled_rows(task, 100, 0)
    generator = torch.Generator().manual_seed(0)
    encoder = task.encoder(4)
    untrained = accuracy(torch.nn.Sequential(copy.deepcopy(encoder)), task.validation)
    model = train_supervised(
        encoder, task, rows, task.views, steps=60, batch_size=32, generator=generator
    )
    assert model[0] is encoder
    assert accuracy(model, task.validation) > max(0.5, untrained)
    assert features(model[0], task.held_out[0]).shape == (len(task.held_out[0]), 128)


def test_validation_rows_are_never_trained_on():
    device = torch.device("cpu")
    for held_out in ("validation", "test"):
        task = load_task("strokes", None, held_out, None, device)
        parts = {name: getattr(task, name)[0] for name in ("train", "held_out", "validation")}
        rows = {name: {x.numpy().tobytes() for x in part} for name, part in parts.items()}
        assert not rows["train"] & (rows["held_out"] | rows["validation"])
        assert (rows["held_out"] == rows["validation"]) == (held_out == "validation")
        assert len(task.train[0]) == 2500
        assert task.data.provenance()["held_out"] == held_out
