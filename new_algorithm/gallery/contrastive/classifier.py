"""An encoder and the linear probe on it as one network, whose outputs are logits.

The probe's outputs are regressions on indicators of the classes, between 0 and 1 or so: as logits
they would call all classes nearly alike. They are times the one number s > 0 of the lowest mean
cross entropy of s F on the validation rows, which is convex in s (temperature scaling, Guo et al.
2017, section 4.2, with T = 1/s). Which output is the largest stays.
"""

import math
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import nn

from new_algorithm.back_projection.losses import SOFTMAX
from new_algorithm.gallery.contrastive.encoders import FEATURES
from new_algorithm.gallery.contrastive.label_efficiency import ReadOut, read_out
from new_algorithm.gallery.contrastive.moco import features
from new_algorithm.gallery.contrastive.tasks import Task

LARGEST = 1e4  # an s; of rows that are all told apart there is no best one


def read_classifier(
    encoder: nn.Module, task: Task, count: int, seed: int
) -> tuple[ReadOut, dict[str, NDArray]]:
    """Read classes out by so many labels, and return also the state of the `classifier` which names
    them as the probe does."""
    represent = partial(features, encoder)
    known = read_out(represent, task, count, seed)
    assert known.fitted is not None
    weight, bias = known.fitted.weight, known.fitted.bias
    outputs = represent(task.validation[0]).cpu().numpy() @ weight + bias
    scale = best_scale(outputs, task.validation[1].cpu().numpy())
    arrays = {f"0.{name}": value.cpu().numpy() for name, value in encoder.state_dict().items()}
    read_outs = {"1.weight": scale * weight.T, "1.bias": scale * bias}
    return known, arrays | {name: one.astype(np.float32) for name, one in read_outs.items()}


def classifier(encoder: nn.Module, classes: int) -> nn.Sequential:
    """Return the encoder and a linear layer behind it in one network."""
    return nn.Sequential(encoder, nn.Linear(FEATURES, classes))


def best_scale(outputs: NDArray, labels: NDArray) -> float:
    """Return the s from 1/LARGEST to LARGEST of the lowest cross entropy of s F, F (n, classes)."""

    def loss(log_scale: float) -> float:
        return SOFTMAX.value(math.exp(log_scale) * outputs, labels)

    reach = math.log(LARGEST)
    return math.exp(minimize_scalar(loss, bounds=(-reach, reach), method="bounded").x)
