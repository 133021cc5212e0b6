"""Attention with several heads against torch's own module."""

import pytest
import torch
from torch import nn

from new_algorithm.models.transformer_block import MultiHeadAttention, join_heads, split_heads


@pytest.mark.parametrize("causal", [False, True])
def test_many_heads_are_torchs_with_the_same_weights(causal):
    torch.manual_seed(0)
    ours = MultiHeadAttention(12, 3, causal).double()
    theirs = nn.MultiheadAttention(12, 3, batch_first=True).double()
    parts = (getattr(ours.projections, name) for name in ("query", "key", "value"))
    weights, biases = zip(*((part.weight, part.bias) for part in parts), strict=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat(weights))
        theirs.in_proj_bias.copy_(torch.cat(biases))
        theirs.out_proj.weight.copy_(ours.join.weight)
        theirs.out_proj.bias.copy_(ours.join.bias)
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    mask = torch.ones(7, 7, dtype=torch.bool).triu(1) if causal else None  # True: not allowed
    torch.testing.assert_close(ours(x), theirs(x, x, x, attn_mask=mask)[0])


def test_heads_are_split_and_joined_again():
    x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0))
    heads = split_heads(x, 3)
    torch.testing.assert_close(heads[1, 2, 4], x[1, 4, 8:])
    assert torch.equal(join_heads(heads), x)
