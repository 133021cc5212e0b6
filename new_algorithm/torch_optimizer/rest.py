"""AdamW for what no layer's problem covers: biases alone, norms, embeddings, free parameters.

Their rate is lr · rest_lr, so that one schedule serves both. The arithmetic is torch.optim's own
(Loshchilov and Hutter 2019; for sparse gradients SparseAdam, which changes no other rows), in
float32 for half-precision parameters: in float16 eps would be 0.
"""

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim._functional import sparse_adam
from torch.optim.adamw import adamw

from new_algorithm.torch_optimizer.statistics import wide_dtype

MOMENTS = ("exp_avg", "exp_avg_sq")


def rest_step(
    parameters: Sequence[Tensor],
    states: Sequence[MutableMapping[str, Any]],
    group: Mapping[str, Any],
) -> None:
    """Change parameters that have gradients; `states` begin empty.

    Weight decay is for matrices: a norm's scales and biases are left alone.
    """
    for parameter, state in zip(parameters, states, strict=True):
        if "exp_avg" not in state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            for name in MOMENTS:
                state[name] = torch.zeros_like(parameter, dtype=wide_dtype(parameter.dtype))
    beta1, beta2 = group["betas"]
    common = {"beta1": beta1, "beta2": beta2, "eps": group["eps"], "maximize": group["maximize"]}
    common["lr"] = group["lr"] * group["rest_lr"]
    kinds: dict[str, list[int]] = {"sparse": [], "matrix": [], "vector": []}
    for place, parameter in enumerate(parameters):
        assert parameter.grad is not None
        dense = "matrix" if parameter.ndim >= 2 else "vector"
        kinds["sparse" if parameter.grad.is_sparse else dense].append(place)
    for kind, places in kinds.items():
        if not places:
            continue
        narrow = [parameters[place] for place in places]
        chosen = [parameter.to(wide_dtype(parameter.dtype)) for parameter in narrow]
        grads = [p.grad.to(wide_dtype(p.dtype)) for p in narrow if p.grad is not None]
        means, squares, steps = (
            [states[place][name] for place in places] for name in (*MOMENTS, "step")
        )
        if kind == "sparse":
            for step in steps:
                step += 1
            counts = [int(step) for step in steps]
            sparse_adam(chosen, grads, means, squares, counts, **common)
        else:
            decay = group["weight_decay"] if kind == "matrix" else 0.0
            none: list[Tensor] = []
            adamw(
                chosen,
                grads,
                means,
                squares,
                none,
                steps,
                amsgrad=False,
                weight_decay=decay,
                **common,
            )
        for parameter, changed in zip(narrow, chosen, strict=True):
            if changed is not parameter:
                parameter.copy_(changed)


def forget(states: Iterable[MutableMapping[str, Any]]) -> None:
    """Begin again."""
    for state in states:
        for name in (*MOMENTS, "step"):
            if name in state:
                state[name].zero_()
