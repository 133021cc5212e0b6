"""Where PyTorch computes: the processor, or a graphics card that is there."""

from typing import TYPE_CHECKING, Literal

from new_algorithm.cli.errors import UserError

if TYPE_CHECKING:  # at run time torch is imported where it is used
    import torch

Device = Literal["cpu", "cuda"]


def torch_device(name: Device) -> "torch.device":
    """Return the device of `--device name`; UserError where PyTorch does not find it."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch finds no graphics card here: leave the flag out")
    return torch.device(name)
