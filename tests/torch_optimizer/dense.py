"""Dense least squares, and what layers see and give, to compare the optimizer with.

A use of a weight is a list over its blocks of (H̃ (n, d), Δ (n, m)), in which Δ = −n ∂loss/∂Z.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from new_algorithm.torch_optimizer import BackProjection

F64 = {"dtype": torch.float64}
CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
LAMBDA_W = 0.3


def drawn(*shape, seed=0):
    chance = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=chance, **F64)


def rows_of(module, z):
    """Outputs (blocks, n, m), a position after the other."""
    if isinstance(module, tuple(CONVOLUTIONS.values())):
        z = z[None] if z.dim() == len(module.kernel_size) + 1 else z
        rows = z.movedim(1, -1).flatten(0, -2)
        return rows.unflatten(1, (module.groups, -1)).transpose(0, 1)
    return z.reshape(1, -1, z.shape[-1])


def unfolded(module, x):
    """Inputs (blocks, n, d without bias): of a convolution, what one-hot kernels show."""
    if isinstance(module, nn.Embedding):
        return functional.one_hot(x.flatten(), module.num_embeddings).double()[None]
    if isinstance(module, nn.Linear):
        return x.detach().flatten(0, -2)[None]
    wide, groups = module.weight[0].numel(), module.groups
    names = ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    same = {name: getattr(module, name) for name in names}
    reader = type(module)(module.in_channels, wide * groups, bias=False, **same, **F64)
    kernels = torch.eye(wide, **F64).repeat(groups, 1)
    reader.weight.data = kernels.reshape(reader.weight.shape)
    return rows_of(module, reader(x)).detach()


def with_ones(rows, bias=True):
    """bias: None for no column, False for a bias that does not act here."""
    if bias is None:
        return rows
    return functional.pad(rows, (0, 1), value=float(bias))


def assert_equal(found, expected, rtol=1e-10):
    assert found.shape == expected.shape
    assert (found - expected).norm() <= rtol * expected.norm() + 1e-14


def dense_step(uses, lambda_w=LAMBDA_W):
    """argmin Σ 1/(2n) ‖Δ − H̃ δ‖² + λ_w ḡ/2 ‖δ‖², block by block, ḡ over all: (blocks, m, d)."""
    grams = [sum(h.T @ h / len(h) for h, _ in block) for block in zip(*uses, strict=True)]
    mean = torch.stack([one.trace() / len(one) for one in grams]).mean()
    steps = []
    for block in zip(*uses, strict=True):
        d, m = block[0][0].shape[1], block[0][1].shape[1]
        left = [h / math.sqrt(len(h)) for h, _ in block]
        right = [delta / math.sqrt(len(delta)) for _, delta in block]
        left.append((lambda_w * mean).sqrt() * torch.eye(d, **F64))
        right.append(torch.zeros(d, m, **F64))
        solved = torch.linalg.lstsq(torch.cat(left), torch.cat(right), driver="gelsd")
        steps.append(solved.solution.T)
    return torch.stack(steps)


def use(h, delta):
    return list(zip(h, delta, strict=True))


class Seen:
    """Inputs and outputs of the layers of a model, call by call."""

    def __init__(self, model):
        self.calls = {}
        for module in model.modules():
            if isinstance(module, (nn.Linear, nn.Embedding, *CONVOLUTIONS.values())):
                module.register_forward_hook(self.take)

    def take(self, module, inputs, z):
        z.retain_grad()
        self.calls.setdefault(module, []).append((inputs[0], z))

    def uses(self, module, bias=True):
        found = []
        for x, z in self.calls[module]:
            delta = -rows_of(module, z.grad)
            found.append(use(with_ones(unfolded(module, x), bias), delta * delta.shape[1]))
        return found


def stepped(model, loss, **settings):
    """Make a step as long as the least-squares solution; return how parameters changed."""
    before = {p: p.detach().clone() for p in model.parameters()}
    settings = {"outer": "trust", "lr": 1e6, "momentum": 0.0, "lambda_w": LAMBDA_W} | settings
    optimizer = BackProjection(model, **settings)
    loss().backward()
    optimizer.step()
    return {p: (p - old).detach() for p, old in before.items()}


def folded(changes, weight, bias, blocks=1):
    """Changes of a weight and its bias, (blocks, m, d)."""
    parts = [
        changes[p].reshape(blocks, len(weight) // blocks, -1)
        for p in (weight, bias)
        if p is not None
    ]
    return torch.cat(parts, -1)


def squares(z, seed=9):
    target = drawn(*z.shape, seed=seed)
    return 0.5 * (target - z).square().sum() / z.shape[:-1].numel()


def model_of(*modules):
    model = nn.Sequential(*modules)
    return model, Seen(model)
