"""Everything that rules look at: a model, its settings, what one batch shows in a copy of it."""

import copy
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from new_algorithm.model_advice.targets import draw_targets, inferred_task
from new_algorithm.model_advice.trace import Trace, run_traced

PARTS = 4  # of the batch, whose gradients' norms are compared
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@dataclass(frozen=True)
class Settings:
    """How the model is trained: the arguments of `advise`."""

    loss: Callable[..., Any] | None = None
    optimizer: Any = None
    task: str | None = None
    clip_norm: float | None = None
    normalisation: Any = None
    weights: Any = None
    training: bool = True


@dataclass
class Examined:
    """What one batch shows.

    model: the user's own, which is never called. output: of its copy, None where that failed.
    trace: of model and loss, in the mode that the model is in; evaluated: in evaluation mode.
    gradients: by parameter, None where there is no loss; a gradient that is None is of a parameter
    that does not reach the loss. silent: parameters whose gradient is exactly zero, and not only
    because weights behind them begin at zero. norms: of the whole gradient, on the batch and on
    parts of it. failure: of the forward pass.
    """

    model: nn.Module
    settings: Settings
    x: Any
    y: Any
    trace: Trace = field(default_factory=Trace)
    evaluated: Trace = field(default_factory=Trace)
    output: Any = None
    gradients: dict[str, Tensor | None] | None = None
    silent: list[str] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    failure: Exception | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def task(self) -> str | None:
        """classification, segmentation, detection, regression, or None where nothing tells."""
        return self.settings.task or inferred_task(self.y, self.output)

    @property
    def rows(self) -> int | None:
        """Of the batch: of its first argument, a tensor or a list with one entry a row."""
        first = self.x[0] if isinstance(self.x, tuple) and self.x else self.x
        if isinstance(first, Tensor):
            return first.shape[0] if first.ndim else None
        return len(first) if isinstance(first, list) else None

    def groups(self) -> list[tuple[float, list[str]]]:
        """The optimizer's groups: weight decay, and names of parameters of this model."""
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        return [
            (
                float(group.get("weight_decay") or 0),
                [names[id(one)] for one in group["params"] if id(one) in names],
            )
            for group in getattr(self.settings.optimizer, "param_groups", ())
        ]


def examine(model: nn.Module, x: Any, y: Any, settings: Settings) -> Examined:
    """Run a copy of the model on one batch; the model, the batch and all generators stay as are."""
    model = getattr(model, "_orig_mod", model)  # of a compiled one
    seen = Examined(model, settings, x, y)
    try:
        subject, loss = copy.deepcopy((model, settings.loss))
    except Exception as error:  # a lock, a file, a tensor amid a graph
        seen.notes.append(f"The model cannot be copied, so that it was not run: {one_line(error)}")
        return seen
    _remove_foreign_hooks(subject)
    if any(isinstance(module, torch.jit.ScriptModule) for module in subject.modules()):
        seen.notes.append("What torch.jit has compiled cannot be looked into.")
    with _generators_kept(), warnings.catch_warnings(action="ignore"):
        _look(seen, subject, loss)
    return seen


def _look(seen: Examined, subject: nn.Module, loss: Callable[..., Any] | None) -> None:
    """Fill in what the batch shows."""

    if seen.y is None and loss is not None:
        seen.y = draw_targets(run_traced(subject, _inputs(seen.x))[1], seen.settings.task, loss)
        if seen.y is not None:
            seen.notes.append("No targets were given: they are drawn at random.")
    y = _fresh(seen.y)
    finish = (lambda output: loss(output, y)) if loss else None
    trace, output, value, error = run_traced(subject, _inputs(seen.x), finish)
    seen.trace, seen.output = trace, output
    if output is None and error is not None:
        seen.failure = error
        seen.notes.append(f"The forward pass fails, so that little was seen: {one_line(error)}")
        return
    if error is not None:
        takes = f"; it must take a {type(output).__name__}" * (not isinstance(output, Tensor))
        seen.notes.append(f"The loss fails on this batch{takes}: {one_line(error)}")
    elif loss is not None:
        _differentiate(seen, subject, loss, value)
    subject.eval()
    seen.evaluated = run_traced(subject, _inputs(seen.x))[0]


def _differentiate(seen: Examined, subject: nn.Module, loss: Callable, value: Any) -> None:
    if not isinstance(value, Tensor) or value.numel() != 1:
        seen.notes.append("The loss is no single number: no gradients were looked at.")
        return
    if not torch.isfinite(value):
        seen.notes.append(f"The loss of this batch is {value.item()}.")
    if not value.requires_grad:
        seen.notes.append("The loss depends on no parameter that requires a gradient.")
        seen.gradients = dict.fromkeys(name for name, _ in _trainable(subject))
        return
    try:
        seen.gradients = _gradients(value, subject)
        seen.norms = [_norm(seen.gradients)]
        for x, y in _parts(seen.x, seen.y, seen.rows):
            value = loss(subject(*_inputs(x)), _fresh(y))
            seen.norms.append(_norm(_gradients(value, subject)))
        seen.silent = _zeros(seen.gradients)
        if seen.silent:
            _leave_zero(subject)
            value = loss(subject(*_inputs(seen.x)), _fresh(seen.y))
            seen.silent = _zeros(_gradients(value, subject))
    except Exception as error:
        seen.notes.append(f"The gradient fails on this batch: {one_line(error)}")


def _gradients(value: Tensor, subject: nn.Module) -> dict[str, Tensor | None]:
    """By name. Nothing is written into any `.grad`, whatever parameters the loss holds."""
    names, parameters = zip(*_trainable(subject), strict=True)
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    return dict(zip(names, found, strict=True))


def _zeros(gradients: dict[str, Tensor | None]) -> list[str]:
    found = ((name, one) for name, one in gradients.items() if one is not None)
    return [name for name, one in found if one.numel() and not one.any()]


def _leave_zero(subject: nn.Module) -> None:
    """Small random numbers in place of weights that are all zero: heads and branches begin so."""
    with torch.no_grad():
        for parameter in subject.parameters():
            if not parameter.any():
                parameter.normal_(std=1e-2)


def _norm(gradients: dict[str, Tensor | None]) -> float:
    squares = [one.double().square().sum() for one in gradients.values() if one is not None]
    return float(sum(squares)) ** 0.5


def _trainable(subject: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, one) for name, one in subject.named_parameters() if one.requires_grad]


def _parts(x: Any, y: Any, rows: int | None) -> Iterator[tuple[Any, Any]]:
    """Quarters of a batch that has rows enough, for each at least two."""
    tensors = [one for one in (*_tensors(x), *_tensors(y)) if one.ndim]
    if rows is None or rows < 2 * PARTS or any(one.shape[0] != rows for one in tensors):
        return
    size = rows // PARTS
    for start in range(0, size * PARTS, size):
        rows_of_part = slice(start, start + size)
        yield tree_map(lambda one, at=rows_of_part: one[at] if _has_rows(one) else one, (x, y))


def _has_rows(one: Any) -> bool:
    return isinstance(one, Tensor) and one.ndim > 0


def _tensors(nested: Any) -> list[Tensor]:
    return [one for one in tree_leaves(nested) if isinstance(one, Tensor)]


def _fresh(nested: Any) -> Any:
    """Copies of the tensors, so that nothing in place reaches the user's."""
    return tree_map(lambda one: one.detach().clone() if isinstance(one, Tensor) else one, nested)


def _inputs(x: Any) -> tuple:
    """The arguments of the model: a tuple is several."""
    fresh = _fresh(x)
    return fresh if isinstance(fresh, tuple) else (fresh,)


def _remove_foreign_hooks(subject: nn.Module) -> None:
    """Take out of a copy the hooks that would write elsewhere; torch's own compute weights."""
    for module in subject.modules():
        for hooks in (getattr(module, name) for name in HOOKS):
            for key, hook in list(hooks.items()):
                home = getattr(hook, "__module__", None) or type(hook).__module__
                if not home.startswith("torch."):
                    del hooks[key]


@contextmanager
def _generators_kept() -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        yield
    random.setstate(python)
    np.random.set_state(numpy)


def one_line(error: BaseException) -> str:
    """The kind of an error and the first line of its text."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
