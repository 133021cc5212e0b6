"""How well classes are read out of features from few labels."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from new_algorithm.gallery.contrastive.neighbours import nearest_neighbours
from new_algorithm.gallery.contrastive.probe import Probe, fit_probe
from new_algorithm.gallery.contrastive.tasks import Task
from new_algorithm.record.files import Row

Represent = Callable[[Tensor], Tensor]


class ReadOut(NamedTuple):
    """Accuracies on held-out rows of the probe and the nearest neighbours; the probe itself, None
    of another read-out in its place."""

    probe: float
    knn: float
    fitted: Probe | None

    @property
    def penalty(self) -> float:
        return math.nan if self.fitted is None else self.fitted.penalty


def labelled_rows(task: Task, count: int, seed: int) -> Tensor:
    """Return the indices of `count` training rows whose labels are known, on the device.

    Of every class as many, to within one where it has so many. With one seed, the first of more
    rows are the rows of a smaller count.
    """
    labels = task.data.y_train
    order = np.random.default_rng(seed).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    sizes = np.bincount(labels)
    place = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # in its class
    rows = by_class[np.argsort(place, kind="stable")][:count]
    return torch.from_numpy(rows).to(task.train[0].device)


def read_out(represent: Represent, task: Task, count: int, seed: int) -> ReadOut:
    """Read classes out of features by so many labels, the same rows and folds with one seed.

    represent: rows (n, …) → features (n, d), both on the device.
    """
    return read_outs(represent, task, (count,), seed)[count]


def read_outs(
    represent: Represent, task: Task, counts: Sequence[int], seed: int
) -> dict[int, ReadOut]:
    """Return the read-outs by each number of labels; held-out rows are represented once."""
    held_out, right = represent(task.held_out[0]), task.data.y_test
    found = {}
    for count in counts:
        x, labels = (part[labelled_rows(task, count, seed)] for part in task.train)
        train, rng = represent(x), np.random.default_rng([seed, count])
        probe = fit_probe(train.cpu().numpy(), labels.cpu().numpy(), task.classes, rng)
        named = probe.classes(held_out.cpu().numpy())
        voted = nearest_neighbours(train, labels, held_out, task.classes).cpu().numpy()
        accuracies = float((named == right).mean()), float((voted == right).mean())
        found[count] = ReadOut(*accuracies, probe)
    return found


def rows_of(found: Mapping[str, Mapping[int, ReadOut]]) -> list[Row]:
    """Return a row of a table for each of the features, by name, and each number of labels."""
    return [
        {
            "features": name,
            "labels": count,
            "probe_accuracy_fraction": scores.probe,
            "knn_accuracy_fraction": scores.knn,
            "penalty": scores.penalty,
        }
        for name, of_counts in found.items()
        for count, scores in of_counts.items()
    ]
