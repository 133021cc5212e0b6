"""Advice on a model and on how it is trained, from one batch."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from new_algorithm.model_advice.examined import Examined, Settings, examine, one_line
from new_algorithm.model_advice.rules import RULES
from new_algorithm.model_advice.suggestion import Note, Suggestion


def advise(
    model: nn.Module,
    x: Any,
    y: Any = None,
    *,
    loss: Callable[..., Any] | None = None,
    optimizer: Any = None,
    task: str | None = None,
    clip_norm: float | None = None,
    normalisation: Any = None,
    weights: Any = None,
    training: bool = True,
) -> list[Suggestion | Note]:
    """Suggestions on a model, the worst first, then notes on what could not be looked at.

    The model is copied, and the copy runs on the batch: neither the model, its gradients and its
    mode, nor the batch, nor a generator of random numbers is changed. Nothing that goes wrong in
    the model is raised.

    x: a batch, as the model is given it; a tuple is several arguments. y: its targets, drawn at
    random where None. loss: called as loss(model(x), y). optimizer: anything with torch's
    param_groups. task: classification, segmentation, detection or regression, else as the targets
    tell. clip_norm: the largest norm of a gradient that training lets pass; None: it does not clip.
    normalisation: what x has been normalised with, (means, deviations) of its channels, or a
    transform with `mean` and `std`. weights: pretrained ones, a member of an enumeration of
    torchvision. training: False for a model that is about to be evaluated.
    """
    settings = Settings(loss, optimizer, task, clip_norm, normalisation, weights, training)
    return advice_on(examine(model, x, y, settings))


def advice_on(seen: Examined) -> list[Suggestion | Note]:
    """What the rules say; a rule that fails on an odd model says so."""
    found: list[Suggestion | Note] = []
    notes = [Note(text) for text in seen.notes]
    for rule in RULES:
        try:
            found += [replace(one, rule=rule.__name__) for one in rule(seen)]
        except Exception as error:  # advice must not end the program of whom it advises
            notes.append(Note(f"The rule {rule.__name__} fails on this model: {one_line(error)}"))
    return found + notes
