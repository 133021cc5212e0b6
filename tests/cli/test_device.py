"""The device that is asked for, or one line that says why not."""

import pytest
import torch

from new_algorithm.cli.device import torch_device
from new_algorithm.cli.errors import UserError


def test_processor_is_always_there():
    assert torch_device("cpu") == torch.device("cpu")


def test_graphics_card_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="--device cuda"):
        torch_device("cuda")
