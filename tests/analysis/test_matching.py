"""Hidden units in another's order: the function stays, and a permuted copy is found."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from new_algorithm.analysis.matching import chain_of, matched, permuted
from new_algorithm.analysis.subject import outputs_of
from new_algorithm.analysis.weight_space import parameters_of
from tests.analysis.subjects import relu_subject


def shuffled(network, seed):
    """The parameters of the network with hidden units in an order that is drawn, and it."""
    generator = torch.Generator().manual_seed(seed)
    layers = chain_of(network)
    orders = [torch.randperm(one.out_features, generator=generator) for one in layers[:-1]]
    return permuted(layers, orders), orders


def with_parameters(network, theta):
    torch.nn.utils.vector_to_parameters(theta, network.parameters())
    return network


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), widths=st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_matching_undoes_an_order_of_hidden_units(seed, widths):
    subject, copy = relu_subject(widths=widths, seed=seed), relu_subject(widths=widths, seed=seed)
    theta, _ = shuffled(subject.network, seed)
    other = with_parameters(copy.network, theta)
    x, _ = subject.rows("train", 20, 0)
    outputs = outputs_of(subject.network, x)
    torch.testing.assert_close(outputs_of(other, x), outputs)
    layers, theirs = chain_of(subject.network), chain_of(other)
    back = permuted(theirs, matched(layers, theirs))
    torch.testing.assert_close(back, parameters_of(subject.network), rtol=0, atol=0)


def test_no_order_of_one_layer_is_nearer_than_the_one_found():
    one, other = (relu_subject(widths=(4, 3), seed=seed) for seed in (0, 1))
    ours, theirs = chain_of(one.network), chain_of(other.network)
    theta, orders = parameters_of(one.network), matched(ours, theirs)
    best = torch.dist(theta, permuted(theirs, orders))
    assert best <= torch.dist(theta, parameters_of(other.network))
    for at, units in enumerate((4, 3)):
        for order in itertools.permutations(range(units)):
            tried = [*orders]
            tried[at] = torch.tensor(order)
            assert torch.dist(theta, permuted(theirs, tried)) >= best - 1e-12


@pytest.mark.parametrize("other", [torch.nn.Tanh(), torch.nn.LayerNorm(5)])
def test_other_networks_are_no_chains(other):
    assert (
        chain_of(torch.nn.Sequential(torch.nn.Linear(3, 5), other, torch.nn.Linear(5, 1))) is None
    )
