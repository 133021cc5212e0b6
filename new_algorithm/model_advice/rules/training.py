"""Rules on gradients, the optimizer and modes."""

import math
from collections.abc import Iterator

from torch import nn

from new_algorithm.model_advice.examined import Examined
from new_algorithm.model_advice.kinds import BATCH_NORM, MODULES
from new_algorithm.model_advice.suggestion import Suggestion, some

LARGE_NORM = 300.0  # of the gradient: 1 to 100 at the start of ResNet-18, VGG-11, ConvNeXt-T, …
UNEVEN_PARTS = 10.0  # largest norm of a part of the batch by their median
UNEVEN_LAYERS = 1e3  # largest norm of a layer's gradient by the smallest, branches left aside

KINDS = dict(MODULES)
NORM_MODULES = (*KINDS["norm"], *KINDS["batch_norm"])
MODAL: tuple[type[nn.Module], ...] = (*KINDS["dropout"], BATCH_NORM)  # that the mode changes


def gradient_missing(seen: Examined) -> Iterator[Suggestion]:
    """Parameters that the loss does not reach, or whose gradient is zero throughout.

    Left aside are biases of layers that learn: what closes a layer closes both. Such a bias has no
    effect where it is subtracted again, by a norm, a softmax or the other half of a pair.
    """
    gradients = seen.gradients or {}
    unused = [name for name, one in gradients.items() if one is None]
    learning = {
        name.rpartition(".")[0]
        for name, one in gradients.items()
        if one is not None and name not in seen.silent
    }
    zero = [
        name
        for name in seen.silent
        if not (name.endswith("bias") and name.rpartition(".")[0] in learning)
    ]
    if unused:
        yield Suggestion(
            where=some(unused),
            seen="requires a gradient, and the loss does not depend on it",
            why="it stays as initialised: a layer that forward() leaves out, or a result that was "
            "detached (detach, no_grad, argmax, .data, NumPy) on its way to the loss",
            instead="use it, delete it, or say requires_grad_(False) where it is frozen on purpose",
            source="PyTorch: autograd mechanics",
        )
    if zero:
        yield Suggestion(
            where=some(zero),
            seen="the gradient is exactly 0 on the whole batch",
            why="it does not learn from this batch: ReLUs that are closed for every row, a factor "
            "of 0 behind it, or a constant loss",
            instead="look at what follows: a bias or a step that has closed ReLUs, targets, masks",
            source="Lu et al. 2020, Dying ReLU and initialization",
        )


def left_out_of_training(seen: Examined) -> Iterator[Suggestion]:
    """Parameters that no optimizer changes, or that are frozen by what looks like accident."""
    parameters = dict(seen.model.named_parameters())
    held = {name for _, names in seen.groups() for name in names}
    frozen = [name for name, one in parameters.items() if not one.requires_grad]
    if missing := [name for name in parameters if held and name not in {*held, *frozen}]:
        yield Suggestion(
            where=some(missing),
            seen="requires a gradient, and is in none of the optimizer's groups",
            why="it is never updated: a layer made or replaced after the optimizer, or modules in "
            "a plain list or dict",
            instead="make the optimizer last, from model.parameters(); ModuleList, ModuleDict",
            source="PyTorch: torch.optim, constructing it",
        )
    if seen.settings.optimizer is not None and not held:
        yield Suggestion(
            where="optimizer",
            seen="it holds no parameter of this model",
            why="the model is never updated: it was copied or made anew after the optimizer",
            instead="make the optimizer from the parameters of the model that is trained",
            source="PyTorch: torch.optim, constructing it",
        )
    halves = [name for name in frozen if _sibling_learns(name, parameters)]
    if halves or (frozen and len(frozen) == len(parameters) and seen.settings.training):
        yield Suggestion(
            where=some(halves or frozen),
            seen="requires_grad is False"
            + (", while the rest of the layer learns" if halves else " for the whole model"),
            why="it stays as it is; layers are frozen as wholes where that is meant",
            instead="requires_grad_(True), or freeze the whole layer",
            source="PyTorch: autograd mechanics",
        )


def mode_does_not_fit(seen: Examined) -> Iterator[Suggestion]:
    """Modules in evaluation mode while training, or the other way round; functions of no mode."""
    training = seen.settings.training
    modules = [
        (name or "the model", one)
        for name, one in seen.model.named_modules()
        if isinstance(one, MODAL)
    ]
    wrong = [
        name
        for name, one in modules
        if one.training != training and not (training and _frozen_norm(one))
    ]
    frozen = [name for name, one in modules if training and one.training and _frozen_norm(one)]
    if wrong:
        is_in, call = ("evaluation", "train") if training else ("training", "eval")
        yield Suggestion(
            where=some(wrong),
            seen=f"in {is_in} mode while the model is to be "
            + ("trained" if training else "evaluated"),
            why="dropout does nothing and batch normalisation uses its running statistics"
            if training
            else "dropout still drops, and batch normalisation uses and updates statistics of the "
            "batch: a row's result depends on the other rows",
            instead=f"model.{call}() before; keep it where normalisation is frozen on purpose"
            if training
            else "model.eval() before, and model.train() after it",
            source="PyTorch: torch.nn.Module.train and eval",
        )
    if frozen:
        yield Suggestion(
            where=some(frozen),
            seen="weight and bias are frozen, and the mode is that of training",
            why="the running statistics still move with every batch: the layer is not frozen",
            instead="eval() of these modules after each model.train()",
            source="PyTorch: torch.nn.BatchNorm2d",
        )
    functions = [
        one.place
        for one in map(seen.evaluated.operations.__getitem__, seen.evaluated.of_kind("dropout"))
        if one.module is None
    ]
    if functions:
        yield Suggestion(
            where=some(functions),
            seen="drops in evaluation mode too",
            why="torch.nn.functional knows no mode: its `training` is True by default",
            instead="training=self.training, or an nn.Dropout",
            source="PyTorch: torch.nn.functional.dropout",
        )


def batch_of_one(seen: Examined) -> Iterator[Suggestion]:
    norms = [
        name
        for name, one in seen.model.named_modules()
        if isinstance(one, BATCH_NORM) and one.training
    ]
    if norms and seen.rows == 1 and seen.settings.training:
        yield Suggestion(
            where=some(norms),
            seen="batch normalisation of a batch with one row",
            why="mean and variance of one row say nothing of the data; without several positions "
            "it is an error",
            instead="more rows, or group normalisation; drop_last=True in the loader",
            source="Wu & He 2018, Group normalization",
        )


def no_clipping(seen: Examined) -> Iterator[Suggestion]:
    """No clipping, though the network is recurrent or norms are large, uneven or not finite."""
    if seen.settings.clip_norm is not None or seen.settings.loss is None:
        return
    reasons = []
    recurrent = [seen.trace.operations[i].name for i in seen.trace.of_kind("recurrent")]
    if recurrent:
        reasons.append(f"{some(recurrent)} is recurrent")
    if seen.norms and (not math.isfinite(seen.norms[0]) or seen.norms[0] > LARGE_NORM):
        reasons.append(f"the gradient's norm is {seen.norms[0]:.3g}")
    parts = sorted(seen.norms[1:])
    if parts and parts[-1] > UNEVEN_PARTS * parts[len(parts) // 2 - 1] > 0:
        reasons.append(f"parts of the batch have norms from {parts[0]:.3g} to {parts[-1]:.3g}")
    trunk = {f"{seen.trace.operations[i].name}.weight" for i in seen.trace.trunk()}
    layers = {
        name: float(one.double().norm())
        for name, one in (seen.gradients or {}).items()
        if name in trunk and one is not None and one.ndim > 1 and one.any()
    }
    if layers and max(layers.values()) > UNEVEN_LAYERS * min(layers.values()):
        least, most = min(layers, key=layers.__getitem__), max(layers, key=layers.__getitem__)
        reasons.append(
            f"norms go from {layers[least]:.2g} ({least}) to {layers[most]:.2g} ({most})"
        )
    if reasons:
        yield Suggestion(
            where="clip_norm",
            seen="no clipping, and " + "; ".join(reasons),
            why="a single steep batch can undo what was learnt",
            instead="torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0) before each step; "
            "where layers differ as much, look at initialisation, norms and scales of targets too",
            source="Pascanu, Mikolov & Bengio 2013, On the difficulty of training recurrent neural "
            "networks",
        )


def decay_of_norms_and_biases(seen: Examined) -> Iterator[Suggestion]:
    spared = {
        f"{path}.{name}".lstrip(".")
        for path, module in seen.model.named_modules()
        for name, one in module.named_parameters(recurse=False)
        if isinstance(module, NORM_MODULES) or (one.ndim <= 1 and name.startswith("bias"))
    }
    for decay, names in seen.groups():
        decayed = [name for name in names if name in spared]
        if decay > 0 and decayed:
            yield Suggestion(
                where=some(decayed),
                seen=f"weight decay {decay:g} on norms and biases",
                why="it pulls scales and shifts to 0, which have little to overfit with",
                instead="two groups: weight_decay=0 for parameters of one dimension (p.ndim <= 1)",
                source="He et al. 2019, Bag of tricks for image classification, section 3.1",
            )


def _sibling_learns(name: str, parameters: dict[str, nn.Parameter]) -> bool:
    path = name.rpartition(".")[0]
    return any(
        other.rpartition(".")[0] == path and one.requires_grad for other, one in parameters.items()
    )


def _frozen_norm(module: nn.Module) -> bool:
    own = list(module.parameters(recurse=False))
    return isinstance(module, BATCH_NORM) and bool(own) and not any(p.requires_grad for p in own)
