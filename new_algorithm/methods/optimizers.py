"""Optimizers of PyTorch's interface for a model, by a method's settings.

Weight decay is decoupled, W ← (1 − η α) W, but of SGD, whose gradient it enters; biases and norms
do not decay.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from new_algorithm.methods.method import Settings

if TYPE_CHECKING:  # at run time torch is imported where it is used
    import torch

Build = Callable[["torch.nn.Module", Settings], "torch.optim.Optimizer"]


def decaying(parameters: "Iterable[torch.Tensor]", weight_decay: float) -> list[dict[str, Any]]:
    """Return groups of parameters: those of two dimensions or more decay, the others do not."""
    of_both: tuple[list[torch.Tensor], list[torch.Tensor]] = [], []
    for parameter in parameters:
        of_both[parameter.ndim < 2].append(parameter)
    both = zip(of_both, (weight_decay, 0.0), strict=True)
    return [{"params": group, "weight_decay": decay} for group, decay in both if group]


def sgd(model: "torch.nn.Module", settings: Settings) -> "torch.optim.Optimizer":
    import torch

    lr, momentum = settings["lr"], settings.get("momentum", 0.0)
    nesterov = settings.get("nesterov", False)
    groups = decaying(model.parameters(), settings.get("weight_decay", 0.0))
    return torch.optim.SGD(groups, lr, momentum, nesterov=nesterov, fused=True)


def adam(model: "torch.nn.Module", settings: Settings) -> "torch.optim.Optimizer":
    import torch

    return torch.optim.Adam(model.parameters(), settings["lr"], fused=True)


def soap(model: "torch.nn.Module", settings: Settings) -> "torch.optim.Optimizer":
    from pytorch_optimizer import SOAP

    return SOAP(
        decaying(model.parameters(), settings["weight_decay"]),
        lr=settings["lr"],
        betas=(settings["momentum"], 0.95),
        precondition_frequency=settings["renewed_every"],
        max_precondition_dim=settings["largest_side"],
    )


def shampoo(model: "torch.nn.Module", settings: Settings) -> "torch.optim.Optimizer":
    """With steps of the size of RMSProp's, layer by layer, as its authors advise."""
    from pytorch_optimizer import ScalableShampoo
    from pytorch_optimizer.optimizer.utils.graft import LayerWiseGrafting

    return ScalableShampoo(
        model.parameters(),
        lr=settings["lr"],
        betas=(settings["momentum"], 0.999),
        graft_type=LayerWiseGrafting.RMSPROP,
        preconditioning_compute_steps=settings["renewed_every"],
    )


def muon(model: "torch.nn.Module", settings: Settings) -> "torch.optim.Optimizer":
    """Embeddings and biases are Adam's, and with `matrices` = "hidden", as its author advises, the
    output layer and an input layer that is no convolution. In a network with fewer than two hidden
    layers all matrices are Muon's, since none would remain otherwise."""
    import torch

    from new_algorithm.methods.muon import Muon

    embeddings = {m.weight for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    matrices = [p for p in model.parameters() if p.ndim >= 2 and p not in embeddings]
    if settings["matrices"] == "hidden":
        is_first_kept = bool(embeddings) or matrices[0].ndim > 2
        matrices = matrices[0 if is_first_kept else 1 : -1] or matrices
    chosen = set(matrices)
    rest = [parameter for parameter in model.parameters() if parameter not in chosen]
    names = "lr", "adam_lr", "momentum", "weight_decay"
    return Muon(matrices, rest, **{name: settings[name] for name in names})


def adamw(model: "torch.nn.Module", settings: Settings) -> "torch.optim.Optimizer":
    import torch

    groups = decaying(model.parameters(), settings["weight_decay"])
    return torch.optim.AdamW(groups, settings["lr"], (settings["momentum"], 0.999), fused=True)


def back_projection(model: "torch.nn.Module", settings: Settings) -> "torch.optim.Optimizer":
    import torch

    from new_algorithm.torch_optimizer import BackProjection

    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    rest = linear[-1:] if settings["head"] == "rest" else []
    names = "lr", "lambda_w", "momentum", "rest_lr", "weight_decay", "outer"
    return BackProjection(model, rest=rest, **{name: settings[name] for name in names})
