"""AdamW for what no layer's problem covers: biases alone, norms, embeddings, free parameters.

Their rate is lr · rest_lr, so that one schedule serves both. The arithmetic is torch.optim's own
(Loshchilov and Hutter 2019; for sparse gradients SparseAdam, which changes no other rows).
"""

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim._functional import sparse_adam
from torch.optim.adamw import adamw


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
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
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
        chosen = [parameters[place] for place in places]
        grads = [parameter.grad for parameter in chosen if parameter.grad is not None]
        means, squares, steps = (
            [states[place][name] for place in places] for name in ("exp_avg", "exp_avg_sq", "step")
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
