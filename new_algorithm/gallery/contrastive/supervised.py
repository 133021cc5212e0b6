"""The same encoder trained with labels from end to end, which representations are compared with."""

import copy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from new_algorithm.cli.signals import whole_steps
from new_algorithm.gallery.contrastive.augmentations import Views
from new_algorithm.gallery.contrastive.encoders import FEATURES
from new_algorithm.gallery.contrastive.label_efficiency import ReadOut, labelled_rows, read_out
from new_algorithm.gallery.contrastive.moco import features, rate_schedule
from new_algorithm.gallery.contrastive.tasks import Labelled, Task

LR = 2e-3  # Adam's highest
WEIGHT_DECAY = 1e-2
CHOICES = 20  # times at which the weights may be kept


def train_supervised(
    encoder: nn.Module,
    task: Task,
    rows: Tensor,
    views: Views,
    *,
    steps: int,
    batch_size: int,
    generator: torch.Generator,
) -> nn.Sequential:
    """Return encoder and linear output layer, trained in place, as they were when they were best on
    the validation rows.

    rows: indices of the training rows whose labels are known. Batches are drawn with replacement,
    each row changed as `views` do. AdamW, the rate up and down; the first best of CHOICES places on
    the way. The labels to choose by are no part of the few: the comparison favours this side.
    """
    x, labels = (part[rows] for part in task.train)
    device = x.device
    model = nn.Sequential(encoder, nn.Linear(FEATURES, task.classes)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), LR, weight_decay=WEIGHT_DECAY, fused=True)
    schedule = rate_schedule(optimizer, steps)
    looks = {round(steps * (i + 1) / CHOICES) for i in range(CHOICES)}
    best, kept = -1.0, model.state_dict()
    for step in whole_steps(range(1, steps + 1)):
        model.train()
        drawn = torch.randint(len(x), (batch_size,), generator=generator, device=device)
        loss = F.cross_entropy(model(views(x[drawn], generator)), labels[drawn])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step in looks and (now := accuracy(model, task.validation)) > best:
            best, kept = now, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    return model


def end_to_end(
    encoder: nn.Module, task: Task, count: int, views: Views, steps: int, batch_size: int, seed: int
) -> ReadOut:
    """Train the encoder with so many labels; the accuracies of its output layer, and of the
    neighbours among its features."""
    model = train_supervised(
        encoder,
        task,
        labelled_rows(task, count, seed),
        views,
        steps=steps,
        batch_size=batch_size,
        generator=torch.Generator(task.train[0].device).manual_seed(seed),
    )
    of_neighbours = read_out(partial(features, model[0]), task, count, seed).knn
    return ReadOut(accuracy(model, task.held_out), of_neighbours, None)


def accuracy(model: nn.Module, of: Labelled) -> float:
    """Return the share of rows whose largest output is that of their label."""
    return float((features(model, of[0]).argmax(1) == of[1]).double().mean())
