"""What targets say about the task, and targets where none are given."""

from typing import Any

import torch
from torch import Tensor

TASKS = ("classification", "segmentation", "detection", "regression")
WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)


def inferred_task(y: Any, output: Any) -> str | None:
    """The task that targets of such a type and shape belong to, or None where they leave it open.

    Boxes are detection. Class indices, rows of shares and single columns of zeros and ones are
    classification, or segmentation where there is one for each pixel. Other numbers are
    regression, but for several columns of zeros and ones: labels, or pixels to reconstruct.
    """
    first = y[0] if isinstance(y, list | tuple) and y else y
    if isinstance(first, dict):
        return "detection" if "boxes" in first else None
    if not isinstance(y, Tensor):
        return None
    named = isinstance(output, Tensor)
    per_pixel = named and output.ndim == 4 and y.ndim >= 3
    binary = bool(((y == 0) | (y == 1)).all())
    if y.dtype in WHOLE:
        counts = named and output.ndim < 3 and output[0].numel() == 1 and not binary
        classes = not counts  # numbers above 1 for a single output
    else:
        classes = shares(y) or (binary and (per_pixel or y.ndim < 2 or y.shape[1] == 1))
        if binary and not classes:
            return None
    if not classes:
        return "regression"
    return "segmentation" if per_pixel else "classification"


def shares(y: Tensor) -> bool:
    """Whether each row is a distribution over at least two classes, one-hot rows among them."""
    if y.ndim < 2 or y.shape[1] < 2 or not y.dtype.is_floating_point:
        return False
    sums = y.sum(dim=1)
    return bool((y >= 0).all() and torch.allclose(sums, torch.ones_like(sums), atol=1e-4))


def draw_targets(output: Any, task: str | None, loss: Any) -> Tensor | None:
    """Targets of the kind that a loss by this name expects for such an output, or None.

    Class indices along dimension 1 for cross-entropies and where the task asks for them.
    """
    if not isinstance(output, Tensor):
        return None
    name = (getattr(loss, "__name__", None) or type(loss).__name__).lower().replace("_", "")
    if "bce" in name or "binarycrossentropy" in name:
        return torch.randint(2, output.shape).to(output.dtype)
    indices = name.startswith(("crossentropy", "nll"))
    if output.ndim >= 2 and (indices or task in ("classification", "segmentation")):
        return torch.randint(output.shape[1], (output.shape[0], *output.shape[2:]))
    return torch.randn_like(output)
