"""Losses, optimizers, weights and batches by the names that flags give them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from new_algorithm.cli.errors import UserError
from new_algorithm.model_advice.examined import one_line
from new_algorithm.model_advice.own_code import load_object


def loss_named(name: str) -> Callable[..., Any]:
    """A class of torch.nn, a function of torch.nn.functional, or FILE.py:LOSS.

    A class is made without arguments. UserError for another name.
    """
    if ".py:" in name:
        found = load_object(name)
    else:
        lower = getattr(nn.functional, name, None) if name.islower() else None
        found = lower or getattr(nn, name, None)
        if not name.lower().endswith(("loss", "entropy", "logits")) or found is None:
            raise UserError(
                f"--loss {name} is no loss of PyTorch: give CrossEntropyLoss, mse_loss, …, or "
                "FILE.py:LOSS"
            )
    return found() if isinstance(found, type) else found


def optimizer_named(name: str, model: nn.Module, weight_decay: float | None) -> Any:
    """An optimizer of torch.optim with all parameters in one group; its weight decay unless given.

    UserError for another name, and for weight decay where it has none.
    """
    kind = getattr(torch.optim, name, None)
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
        raise UserError(f"--optimizer {name} is none of torch.optim: give SGD, AdamW, …")
    settings: dict[str, Any] = {} if weight_decay is None else {"weight_decay": weight_decay}
    try:
        return kind(model.parameters(), lr=1e-3, **settings)  # type: ignore[call-arg]
    except (TypeError, ValueError) as error:
        raise UserError(f"--optimizer {name} cannot be made: {one_line(error)}") from error


def weights_named(name: str) -> Any:
    """A member of an enumeration of torchvision. UserError without such a member or torchvision."""
    try:
        from torchvision.models import get_weight
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another torch
        raise UserError(f"--weights needs torchvision, which fails: {one_line(error)}") from error
    try:
        return get_weight(name)
    except (AttributeError, KeyError, ValueError) as error:
        raise UserError(
            f"--weights {name} is unknown: give one such as ResNet18_Weights.IMAGENET1K_V1"
        ) from error


def read_batch(path: Path) -> tuple[Tensor, Tensor | None]:
    """x and, if it is there, y of a .npz: floats and x as float32, other y as int64.

    UserError for what is missing or cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ("x", "y") if name in archive}
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"--batch {path} cannot be read: {one_line(error)}") from error
    if "x" not in arrays:
        raise UserError(f"--batch {path} has no array x: save it with numpy.savez(…, x=…, y=…)")
    x, y = arrays["x"], arrays.get("y")
    indices = x.dtype.kind in "iu" and x.ndim <= 2  # of an embedding; images are numbers
    inputs = torch.from_numpy(x.astype(np.int64 if indices else np.float32))
    if y is None:
        return inputs, None
    return inputs, torch.from_numpy(y.astype(np.float32 if y.dtype.kind == "f" else np.int64))


def draw_batch(shape: Sequence[int], classes: int | None) -> Tensor:
    """Standard normal numbers of a shape; whole numbers below `classes` where those are given."""
    return torch.randn(*shape) if classes is None else torch.randint(classes, tuple(shape))
