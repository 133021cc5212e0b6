"""Ways to train that change what layers see, or when: the statistics and steps stay right."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from new_algorithm.torch_optimizer import BackProjection
from new_algorithm.torch_optimizer.outer_steps import OUTER
from tests.torch_optimizer.small import (
    assert_same_state,
    assert_same_weights,
    batch,
    copies,
    gram_of,
    second_moment,
    small,
    some,
    train,
)


@pytest.mark.parametrize("outer", OUTER)
def test_two_half_batches_are_one_whole_batch(outer):
    model, other = small().double(), small().double()
    optimizer, plain = BackProjection(model, outer=outer), BackProjection(other, outer=outer)
    for number in range(7):
        tokens, labels = batch(number)
        optimizer.zero_grad()
        for half in (slice(0, 4), slice(4, 8)):
            (cross_entropy(model(tokens[half]), labels[half]) / 2).backward()
        optimizer.step()
        train(other, plain, [number])
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        if "gram" in plain.state[two]:
            torch.testing.assert_close(gram_of(optimizer, one), gram_of(plain, two))
    assert_same_weights(model, other, tolerance=1e-7)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_evaluation_leaves_no_trace(mode):
    model, other = small(), small()
    optimizer, plain = BackProjection(model), BackProjection(other)
    for number in range(7):
        with mode():
            model(batch(100 + number, rows=50)[0])
        model.eval()
        with mode():
            model(batch(200 + number)[0])
        model.train()
        train(model, optimizer, [number])
        train(other, plain, [number])
    assert_same_weights(model, other)
    assert_same_state(optimizer.state_dict(), plain.state_dict())


def test_uses_within_one_pass_add_up():
    layer = nn.Linear(3, 3)
    optimizer = BackProjection(layer)
    rows = some(6, 3)
    middle = layer(rows)
    layer(middle).square().mean().backward()
    optimizer.step()
    expected = second_moment(rows) + second_moment(middle.detach())
    torch.testing.assert_close(gram_of(optimizer, layer.weight), expected)


def test_calls_without_rows_do_not_count():
    layer = nn.Linear(3, 3)
    optimizer = BackProjection(layer)
    (layer(some(6, 3)).square().mean() + layer(some(0, 3)).sum()).backward()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
    torch.testing.assert_close(gram_of(optimizer, layer.weight), second_moment(some(6, 3)))


@pytest.mark.parametrize("outer", OUTER)
def test_modules_that_a_step_does_not_call_rest(outer):
    torch.manual_seed(0)
    experts = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(3, 2)])
    optimizer = BackProjection(experts, outer=outer)
    for number in range(24):
        called = {number % 2, 2 if number > 12 else 0}
        before = copies(experts)
        optimizer.zero_grad()
        torch.stack([experts[i](some(8, 3, seed=number)) for i in called]).mean().backward()
        optimizer.step()
        for i in range(3):
            moved = not torch.equal(experts[i].weight, before[2 * i])
            assert moved == (i in called)
    assert all(torch.isfinite(parameter).all() for parameter in experts.parameters())
    assert all("gram" in optimizer.state[expert.weight] for expert in experts)


def test_frozen_layers_cost_nothing_and_learn_when_unfrozen():
    model = small()
    optimizer = BackProjection(model)
    model.convolution.requires_grad_(False)
    before = copies(model.convolution)
    train(model, optimizer, range(4))
    assert_same_weights(model.convolution, before)
    assert model.convolution.weight not in optimizer.state
    model.convolution.requires_grad_(True)
    train(model, optimizer, range(4, 6))
    assert "gram" in optimizer.state[model.convolution.weight]
    assert not torch.equal(model.convolution.weight, before[0])
    model.linear.bias.requires_grad_(False)
    model.linear.bias.grad = None
    bias = model.linear.bias.clone()
    train(model, optimizer, range(6, 8))
    assert torch.equal(model.linear.bias, bias)


def test_layer_that_is_frozen_at_first_has_its_bias_with_it():
    model = nn.Linear(3, 2).requires_grad_(False)
    optimizer = BackProjection(model)
    model.requires_grad_(True)
    model(some(8, 3)).square().mean().backward()
    optimizer.step()
    assert gram_of(optimizer, model.weight).shape == (1, 4, 4)


def test_lazy_modules_train_like_others():
    torch.manual_seed(0)
    lazy = nn.Sequential(nn.LazyConv1d(4, 2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    optimizer = BackProjection(lazy)
    images, labels = some(8, 2, 5), torch.arange(8) % 3
    with torch.no_grad():
        lazy(images)
    plain = nn.Sequential(nn.Conv1d(2, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    plain.load_state_dict(lazy.state_dict())
    for model, one in ((lazy, optimizer), (plain, BackProjection(plain))):
        for _ in range(4):
            one.zero_grad()
            cross_entropy(model(images), labels).backward()
            one.step()
    assert optimizer.solved() == ["0", "3"]
    assert_same_weights(lazy, plain)


class Tied(nn.Module):
    def __init__(self, first):
        super().__init__()
        self.first, self.last = first, nn.Linear(4, 4)
        self.last.weight = first.weight

    def forward(self, x):
        return self.last(self.first(x).tanh())


@pytest.mark.parametrize(
    ("first", "inputs"),
    [(lambda: nn.Linear(4, 4), some(8, 4)), (lambda: nn.Embedding(4, 4), torch.arange(8) % 4)],
    ids=["linear", "embedding"],
)
@pytest.mark.parametrize("outer", OUTER)
def test_tied_weights_change_once(outer, first, inputs):
    torch.manual_seed(0)
    model = Tied(first())
    optimizer = BackProjection(model, outer=outer, lr=0.01)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = cross_entropy(model(inputs), torch.arange(8) % 4)
        losses.append(float(loss.detach()))
        loss.backward()
        optimizer.step()
    assert model.first.weight is model.last.weight
    assert len(optimizer.solved()) == 1
    assert losses[-1] < losses[0]
    again = copy.deepcopy(optimizer.state_dict())
    optimizer.load_state_dict(again)


class Checkpointed(nn.Module):
    def __init__(self, inner, reentrant):
        super().__init__()
        self.inner, self.reentrant = inner, reentrant

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=self.reentrant)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_changes_no_step(reentrant):
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.2), nn.Tanh(), nn.Linear(5, 4))
    plain = nn.Sequential(nn.Linear(4, 4), inner, nn.Linear(4, 3))
    other = copy.deepcopy(plain)
    other[1] = Checkpointed(other[1], reentrant)
    for model in (plain, other):
        optimizer = BackProjection(model)
        torch.manual_seed(1)
        for number in range(7):
            optimizer.zero_grad()
            cross_entropy(model(some(8, 4, seed=number)), torch.arange(8) % 3).backward()
            optimizer.step()
        assert len(optimizer.solved()) == sum(
            len(stack.layers) for stack in optimizer.curvature.stacks
        )
    assert_same_weights(plain, other, tolerance=1e-6)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_model_trains_like_the_plain_one(backend):
    model, other = small(), small()
    train(model, BackProjection(model), range(7))
    optimizer = BackProjection(other)
    train(torch.compile(other, backend=backend), optimizer, range(7))
    assert_same_weights(model, other, tolerance=1e-6)


def test_autocast_leaves_statistics_in_full_precision():
    layer = nn.Linear(3, 2)
    optimizer = BackProjection(layer)
    rows = some(64, 3)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(rows)
    assert output.dtype == torch.bfloat16
    output.float().square().mean().backward()
    optimizer.step()
    torch.testing.assert_close(gram_of(optimizer, layer.weight), second_moment(rows))


@pytest.mark.parametrize("outer", OUTER)
def test_half_precision_weights_have_wide_statistics(outer):
    model, wide = small().bfloat16(), small()
    for one in (model, wide):
        optimizer = BackProjection(one, outer=outer)
        train(one, optimizer, range(4))
        for stack in optimizer.curvature.stacks:
            for tensor in stack.tensors.values():
                assert tensor.dtype == torch.float32
                assert torch.isfinite(tensor).all()
    assert_same_weights(model.float(), wide, tolerance=0.15)


def test_another_default_device_does_not_matter():
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    other.load_state_dict(model.state_dict())
    rows = some(9, 3)
    for one, device in ((model, "cpu"), (other, "meta")):
        optimizer = BackProjection(one, rows=4)
        with torch.device(device):
            one(rows).square().mean().backward()
        optimizer.step()
    assert_same_weights(model, other)


def adam_w_trains(model, optimizer, given):
    """And equals what AdamW does with these settings."""
    twin = copy.deepcopy(model)
    plain = torch.optim.AdamW(twin.parameters(), lr=0.003, weight_decay=0.0)
    for number in range(4):
        for one, its_own in ((model, optimizer), (twin, plain)):
            its_own.zero_grad()
            one(given(number)).square().mean().backward()
            its_own.step()
    assert_same_weights(model, twin, tolerance=1e-7)


def test_transposed_convolution_warns_and_is_adamws():
    model = nn.Sequential(nn.ConvTranspose1d(2, 3, 2))
    with pytest.warns(RuntimeWarning, match="0: no layer problem for ConvTranspose1d"):
        optimizer = BackProjection(model, lr=0.03, rest_lr=0.1)
    assert optimizer.solved() == []
    adam_w_trains(model, optimizer, lambda number: some(4, 2, 5, seed=number))


old_weight_norm = torch.nn.utils.weight_norm


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, old_weight_norm])
def test_parametrized_weights_are_adamws(wrap):
    model = nn.Sequential(wrap(nn.Linear(3, 2)))
    optimizer = BackProjection(model, lr=0.03, rest_lr=0.1)
    assert optimizer.solved() == []
    if wrap is old_weight_norm:
        return  # such a model cannot be copied
    adam_w_trains(model, optimizer, lambda number: some(4, 3, seed=number))


@pytest.mark.parametrize("outer", OUTER)
def test_sparse_gradients_make_the_step_that_dense_ones_make(outer):
    model, other = small(sparse=True), small()
    for one in (model, other):
        train(one, BackProjection(one, outer=outer), range(1))
        assert one.embedding.weight.grad.is_sparse == (one is model)
    assert_same_weights(model, other, tolerance=1e-4)  # SparseAdam adds eps in another place
    train(model, BackProjection(model, outer=outer), range(6))
    assert torch.isfinite(model.embedding.weight).all()
