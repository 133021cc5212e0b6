"""Rules on what a loss is given, and on which loss fits the task."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from new_algorithm.model_advice.examined import Examined
from new_algorithm.model_advice.recommendations import recommended
from new_algorithm.model_advice.suggestion import Suggestion
from new_algorithm.model_advice.targets import shares
from new_algorithm.model_advice.trace import Operation

RARE = 0.1  # all classes but the most frequent one, of all pixels: then Dice pays
RARE_BOXES = 0.01  # positives of all anchors; Lin et al. 2017 speak of 1 : 1000
UNBOUNDED = ("weighted", "recurrent", "attention", "embedding", "batch_norm", "norm", "relu")
STABLE = "PyTorch: torch.nn.CrossEntropyLoss, torch.nn.BCEWithLogitsLoss"


def least_after_softmax(classes: int) -> float:
    """The least cross-entropy (nats) of probabilities that are taken for logits.

    With p = 1 for the right class, log(e + C − 1) − 1, in place of 0.
    """
    return math.log(math.e + classes - 1) - 1


def activation_before_loss(seen: Examined) -> Iterator[Suggestion]:
    """Losses that begin with a softmax or sigmoid, given what has been through one."""
    for loss, source in _losses(seen, "cross_entropy", "bce_logits"):
        if source is None or source.kind not in ("softmax", "log_softmax", "sigmoid"):
            continue
        why = "the loss applies it again: probabilities are taken for logits, "
        if loss.kind == "bce_logits":
            why += f"so that it cannot fall below {math.log1p(math.exp(-1)):.3f} for a target of 1"
        elif source.kind == "log_softmax":
            why = "the loss applies it again; the second one changes nothing and takes time"
        else:
            least = least_after_softmax(loss.given[0].shape[1]) if loss.given[0].ndim > 1 else 0
            why += f"so that it cannot fall below {least:.3f}" if source.kind == "softmax" else ""
            why = why.rstrip(", ") + ", and gradients are small"
        yield Suggestion(
            where=source.place,
            seen=f"{source.kind} before {loss.name}",
            why=why,
            instead="give the loss the logits, and apply softmax or sigmoid where probabilities "
            "are needed",
            source=STABLE,
        )


def loss_wants_other_input(seen: Examined) -> Iterator[Suggestion]:
    """Losses that want probabilities or their logarithms, and get something else."""
    for loss, source in _losses(seen, "nll", "bce", "cross_entropy"):
        given = loss.given[0].detach()
        if loss.kind == "nll" and not _log_probabilities(given):
            yield Suggestion(
                where=loss.name,
                seen=f"its input comes from {_name(source)} and is no logarithm of probabilities",
                why="the loss is −x of the right class: without a log-softmax it has no minimum",
                instead="CrossEntropyLoss on logits, or log_softmax before NLLLoss",
                source="PyTorch: torch.nn.NLLLoss",
            )
        inside = bool(((given >= 0) & (given <= 1)).all())
        if loss.kind == "bce" and (not inside or (source and source.kind in UNBOUNDED)):
            yield Suggestion(
                where=loss.name,
                seen=f"its input comes from {_name(source)}, without a sigmoid"
                + ("" if inside else ", and leaves [0, 1]"),
                why="binary cross-entropy is of probabilities, and infinite or undefined elsewhere",
                instead="BCEWithLogitsLoss on logits, which is stable where a sigmoid saturates",
                source="PyTorch: torch.nn.BCEWithLogitsLoss",
            )
        if loss.kind == "cross_entropy" and given.ndim > 1 and given.shape[1] == 1:
            yield Suggestion(
                where=loss.name,
                seen="cross-entropy of a single output column",
                why="the softmax of one number is 1: the loss is 0 whatever the weights are",
                instead="BCEWithLogitsLoss on the one logit, or two columns",
                source=STABLE,
            )


def targets_are_broadcast(seen: Examined) -> Iterator[Suggestion]:
    for loss, _ in _losses(seen, "distance"):
        accepted = loss.result is not None and len(loss.given) > 1
        if accepted and loss.given[0].shape != loss.given[1].shape:
            output, targets = (list(one.shape) for one in loss.given[:2])
            yield Suggestion(
                where=loss.name,
                seen=f"outputs of shape {output} and targets of shape {targets}",
                why="shapes that differ are broadcast: each output is compared with the targets of "
                "other rows",
                instead="targets of the outputs' shape: y.unsqueeze(1), or output.squeeze(1)",
                source="PyTorch: torch.nn.MSELoss; broadcasting semantics",
            )


def loss_fits_task(seen: Examined) -> Iterator[Suggestion]:
    """Losses of another task than the given or inferred one."""
    for loss, _ in _losses(seen, "cross_entropy", "nll", "bce", "bce_logits", "distance"):
        found = _misfit(seen, loss)
        if found and seen.task:
            why, names = found
            advised = [one for one in recommended(seen.task, "losses") if one.name in names]
            assert len(advised) == len(names), names
            yield Suggestion(
                where=loss.name,
                seen=f"{loss.name.rpartition(' ')[2]} for {seen.task}",
                why=why,
                instead="; ".join(f"{one.name}: {one.when}" for one in advised),
                source="; ".join(one.source for one in advised),
            )


def _misfit(seen: Examined, loss: Operation) -> tuple[str, tuple[str, ...]] | None:
    """Why a loss does not fit, and which of the table's losses do; None where it may."""
    target = loss.given[1] if len(loss.given) > 1 else None
    shares_of_one = target is not None and bool(((target >= 0) & (target <= 1)).all())
    fits_numbers = loss.kind == "distance" or ("bce" in loss.kind and shares_of_one)
    if seen.settings.task is None and loss.kind in ("cross_entropy", "nll"):
        fits_numbers |= (
            target is not None and not target.is_floating_point()
        )  # a loss's own classes
    if seen.task == "regression" and not fits_numbers:
        return (
            "classes have no order for a cross-entropy, and targets outside [0, 1] no probability",
            ("squared error", "Huber"),
        )
    if seen.task in ("classification", "segmentation") and loss.kind == "distance":
        logits = "the squared error of a saturated output has hardly a gradient where it is wrong"
        one_column = loss.given[0].ndim < 2 or loss.given[0].shape[1] == 1
        return (logits, ("binary cross-entropy",) if one_column else ("cross-entropy",))
    if seen.task == "detection" and loss.name.endswith("mse_loss()"):
        return (
            "the squared error of a box is ruled by outliers and by large boxes, and is not the "
            "overlap that is scored",
            ("GIoU", "smooth L1"),
        )
    weighted = len(loss.given) > 2 or (isinstance(loss.result, Tensor) and loss.result.ndim > 0)
    if target is None or target.numel() == 0 or loss.kind == "distance" or weighted:
        return None  # weights of classes are given, or each element's loss is used by itself
    rare = _share_but_the_most_frequent(target)
    if seen.task == "detection" and rare < RARE_BOXES:
        return f"all but the background are {rare:.2%} of the targets", ("focal loss",)
    if seen.task == "segmentation" and rare < RARE and not _has_other_terms(seen):
        return (
            f"all but the most frequent class are {rare:.1%} of the pixels, and weigh as little",
            ("Dice + cross-entropy",),
        )
    return None


def _has_other_terms(seen: Examined) -> bool:
    """Whether the loss does more with the output than one function of torch: a Dice term, say."""
    return any(
        one.kind == "other" and one.module is None and one.name.startswith("loss: ")
        for one in seen.trace.operations
    )


def _share_but_the_most_frequent(target: Tensor) -> float:
    """1 − the share of the most frequent class; classes along dimension 1 of rows of shares.

    Classes below 0 are not counted: -100 is what torch ignores.
    """
    if shares(target):
        target = target.argmax(dim=1)
    target = target[target >= 0]
    if not len(target):
        return 1.0
    counts = torch.unique(target.detach().round(), return_counts=True)[1]
    return 1 - float(counts.max() / counts.sum())


def _log_probabilities(given: Tensor) -> bool:
    """Whether the exponentials along the classes sum to 1."""
    totals = given.double().logsumexp(dim=1 if given.ndim > 1 else 0)
    return bool((totals.abs() < 1e-3).all())


def _losses(seen: Examined, *kinds: str) -> Iterator[tuple[Operation, Operation | None]]:
    """Losses of these kinds, with what made their input, changes of shape aside."""
    for index in seen.trace.of_kind(*kinds):
        loss = seen.trace.operations[index]
        if loss.given:
            yield loss, seen.trace.source(loss.made_by[0])


def _name(source: Operation | None) -> str:
    return "the batch itself" if source is None else source.name
