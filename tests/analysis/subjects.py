"""Small subjects of an analysis, made without files: random weights and drawn data."""

import numpy as np
import torch
from torch.func import functional_call

from datasets import load_dataset
from new_algorithm.analysis.subject import Subject
from new_algorithm.back_projection.losses import loss_for
from new_algorithm.back_projection.network import initial_weights
from new_algorithm.methods.torch_network import relu_network
from new_algorithm.record.snapshots import named


def relu_subject(name="synthetic", widths=(5, 4), rows=60, seed=0, epochs=2, dtype=np.float64):
    """A ReLU network on a drawn data set: synthetic (20 features, 4 classes), spirals (two classes)
    or regression. Snapshots drift at random from the start to the end."""
    data = load_dataset(name, train_limit=rows, test_limit=rows)
    loss, outputs = loss_for(data.num_classes, data.y_train)
    rng = np.random.default_rng(seed)
    sizes = (data.x_train.shape[1], *widths, outputs)
    kept = [initial_weights(rng, sizes, dtype)]
    for weight in kept[0]:
        weight[-1] = rng.standard_normal(weight.shape[1]) / 4  # biases that are not all zero
    for _ in range(epochs):
        drift = [rng.standard_normal(w.shape) / 20 for w in kept[-1]]
        kept.append([(w + d).astype(dtype) for w, d in zip(kept[-1], drift, strict=True)])

    def load(arrays):
        return relu_network([arrays[f"layer_{i}"] for i in range(1, len(arrays) + 1)]).eval()

    record = {
        "script": "new_algorithm/n_layer_relu_data.py",
        "command": "python …",
        "config": {"batch_size": 16, "seed": seed},
        "data": data.provenance(),
        "final_metrics": {"epoch": epochs},
    }
    network = load(named(kept[-1]))
    shots = {epoch: (lambda w=w: named(w)) for epoch, w in enumerate(kept)}
    return Subject("drawn", record, {}, data, loss, network, shots, load, shots[0])


def flat(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def flat_function(network, x):
    """Parameters as one vector, and the outputs as a function of it."""
    names, shapes = zip(*((n, p.shape) for n, p in network.named_parameters()), strict=True)
    sizes = [shape.numel() for shape in shapes]

    def outputs(theta):
        parts = zip(theta.split(sizes), shapes, strict=True)
        arrays = [part.view(shape) for part, shape in parts]
        return functional_call(network, dict(zip(names, arrays, strict=True)), (x,))

    return torch.cat([p.detach().flatten() for p in network.parameters()]), outputs
