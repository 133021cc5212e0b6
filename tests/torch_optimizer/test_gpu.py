"""The same numbers on a GPU, and what only a GPU has: mixed precision with a scaler."""

import copy

import pytest
import torch
from torch import nn

from new_algorithm.torch_optimizer import BackProjection
from new_algorithm.torch_optimizer.outer_steps import OUTER

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]


class Model(nn.Module):
    """A layer of each kind."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(2, 6, 3, stride=2, padding=1, groups=2)
        self.embedding = nn.Embedding(5, 6)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.norm, self.linear = nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, images, tokens):
        x = self.convolution(images).flatten(2).mT + self.embedding(tokens)
        return self.linear(self.norm(x + self.attention(x, x, x)[0]).relu().mean(1))


def batches(device, dtype, count=12):
    chance = torch.Generator().manual_seed(1)
    for _ in range(count):
        images = torch.randn(32, 2, 4, 4, generator=chance, dtype=dtype)
        tokens = torch.randint(5, (32, 4), generator=chance)
        labels = torch.randint(3, (32,), generator=chance)
        yield images.to(device), tokens.to(device), labels.to(device)


def trained(device, dtype=torch.float64, autocast=None, scaled=False, **settings):
    torch.manual_seed(0)
    model = Model().to(dtype).to(device)
    optimizer = BackProjection(model, gram_every=2, factor_every=4, **settings)
    scaler = torch.amp.GradScaler(device, enabled=scaled)
    for images, tokens, labels in batches(device, dtype):
        with torch.autocast(device, autocast or torch.bfloat16, enabled=autocast is not None):
            loss = nn.functional.cross_entropy(model(images, tokens), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    return model, optimizer


def vector(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach().cpu().double()


@pytest.mark.parametrize("outer", OUTER)
def test_a_gpu_gives_the_numbers_of_the_processor(outer):
    here, there = (vector(trained(device, outer=outer)[0]) for device in ("cpu", "cuda"))
    assert (here - there).norm() < 1e-7 * here.norm()


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize(("autocast", "scaled"), [(torch.bfloat16, False), (torch.float16, True)])
def test_mixed_precision_is_near_to_full(outer, autocast, scaled):
    full = vector(trained("cuda", torch.float32, outer=outer)[0])
    mixed, optimizer = trained("cuda", torch.float32, autocast, scaled, outer=outer)
    assert (vector(mixed) - full).norm() < 0.05 * full.norm()
    for stack in optimizer.curvature.stacks:
        for tensor in stack.tensors.values():
            assert tensor.dtype == torch.float32
            assert tensor.isfinite().all()


def test_a_state_goes_from_gpu_to_processor():
    model, optimizer = trained("cuda")
    other = copy.deepcopy(model).cpu()
    loaded = BackProjection(other, gram_every=2, factor_every=4)
    loaded.load_state_dict(optimizer.state_dict())
    for ours, theirs in zip(loaded.curvature.stacks, optimizer.curvature.stacks, strict=True):
        for name, tensor in ours.tensors.items():
            assert tensor.device.type == "cpu"
            torch.testing.assert_close(tensor, theirs.tensors[name].cpu(), rtol=0, atol=0)
