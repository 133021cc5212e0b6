"""A finite λ_h: the left factor against dense solutions, its limits, and what keeps descent."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from new_algorithm.torch_optimizer import BackProjection
from new_algorithm.torch_optimizer.layers import layers_of
from new_algorithm.torch_optimizer.output_factors import layers_above, left_factor, residual_rows
from tests.torch_optimizer.dense import F64, assert_equal, drawn

ROWS, LAMBDA_W, LAMBDA_H = 12, 0.3, 0.7


def positive(m, seed=0):
    x = drawn(2 * m, m, seed=seed)
    return x.T @ x


@given(st.integers(1, 6), st.floats(1e-2, 1e3), st.floats(1e-3, 1e3))
def test_left_factor_is_dense_and_does_not_depend_on_the_scale_of_s(m, lambda_h, scale):
    s = positive(m)
    relative = s / (s.trace() / m)
    eye = torch.eye(m, **F64)
    expected = (1 + lambda_h) * torch.linalg.inv(relative + lambda_h * eye)
    assert_equal(left_factor(scale * s[None], lambda_h)[0], expected, 1e-9)


def test_left_factor_tends_to_one_and_is_one_where_nothing_was_seen():
    eye = torch.eye(3, **F64)
    assert_equal(left_factor(positive(3)[None], 1e9)[0], eye, 1e-7)
    nothing = torch.stack([torch.zeros(3, 3, **F64), torch.full((3, 3), math.nan, **F64)])
    assert_equal(left_factor(nothing, 0.5), torch.stack([eye, eye]))


def chain():
    torch.manual_seed(0)
    layers = nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)
    return nn.Sequential(*layers).double()


def stepped(model, loss_of, **settings):
    """The weights' changes in one step of length so large that the problems' solutions are made."""
    optimizer = BackProjection(
        model, outer="trust", lr=1e6, momentum=0.0, lambda_w=LAMBDA_W, **settings
    )
    before = [p.detach().clone() for p in model.parameters()]
    loss_of(model).backward()
    optimizer.step()
    pairs = zip(model.parameters(), before, strict=True)
    return optimizer, [parameter.detach() - old for parameter, old in pairs]


def dense_change(h, gradient, left):
    """left · M A⁻¹ of inputs h (n, d) with ones, and the gradient of the layer's outputs (n, m)."""
    g = h.T @ h / len(h)
    a = g + LAMBDA_W * g.diagonal().mean() * torch.eye(len(g), **F64)
    return left @ (-gradient.T @ h) @ torch.linalg.inv(a)


def left_of(s):
    s = s / s.diagonal().mean()
    eye = torch.eye(len(s), **F64)
    return (1 + LAMBDA_H) * torch.linalg.inv(s + LAMBDA_H * eye)


def test_chain_is_the_recursion_from_its_top_down():
    x, y = drawn(ROWS, 4), drawn(ROWS, 3, seed=1)
    reference = chain()
    inputs, outputs = [], []
    h = x
    for module in reference:
        if isinstance(module, nn.Linear):
            inputs.append(torch.cat([h.detach(), torch.ones(ROWS, 1, **F64)], 1))
        h = module(h)
        if isinstance(module, nn.Linear):
            h.retain_grad()
            outputs.append(h)
    (0.5 * (h - y).square().sum() / ROWS).backward()
    gradients = [z.grad for z in outputs]
    s = gradients[2].T @ gradients[2]
    lefts = [left_of(s)]
    for place in (1, 0):
        w, mask = reference[2 * place + 2].weight.detach(), (outputs[place] > 0).double()
        s = (w.T @ s @ w) * (mask.T @ mask / ROWS)
        lefts.insert(0, left_of(s))

    _, changes = stepped(
        chain(), lambda m: 0.5 * (m(x) - y).square().sum() / ROWS, lambda_h=LAMBDA_H
    )
    for place in range(3):
        expected = dense_change(inputs[place], gradients[place], lefts[place])
        found = torch.cat([changes[2 * place], changes[2 * place + 1][:, None]], 1)
        assert_equal(found, expected, 1e-9)


def test_elsewhere_it_is_the_moment_of_what_goes_down():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    x, y = drawn(ROWS, 4), drawn(ROWS, 3, seed=1)
    z = model[0](x)
    z.retain_grad()
    (0.5 * (model[2](model[1](z)) - y).square().sum() / ROWS).backward()
    expected = dense_change(
        torch.cat([x, torch.ones(ROWS, 1, **F64)], 1), z.grad, left_of(z.grad.T @ z.grad)
    )
    model.zero_grad()
    _, changes = stepped(model, lambda m: 0.5 * (m(x) - y).square().sum() / ROWS, lambda_h=LAMBDA_H)
    assert_equal(torch.cat([changes[0], changes[1][:, None]], 1), expected, 1e-9)


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        (nn.Linear(3, 4), (2, 5, 3)),
        (nn.Conv1d(4, 6, 3, groups=2), (5, 4, 8)),
        (nn.Conv2d(4, 6, 3, groups=2), (5, 4, 6, 7)),
        (nn.Conv2d(4, 6, 3), (4, 6, 7)),
    ],
)
def test_rows_of_residuals_belong_to_the_rows_of_inputs(module, inputs):
    module = module.double()
    (layer,) = layers_of(module, "")
    x = drawn(*inputs)
    output = module(x)
    gradient = drawn(*output.shape, seed=1)
    output.backward(gradient)
    rows = torch.cat(list(layer.rows([x], torch.arange)))
    residual = residual_rows(layer, gradient)
    assert_equal(residual.mT @ rows, layer.moment(True)[..., : rows.shape[-1]], 1e-9)


def test_slope_is_never_negative_with_masks_that_differ_from_row_to_row():
    for seed in range(20):
        torch.manual_seed(seed)
        model = chain()
        x, y = 3 * drawn(ROWS, 4, seed=seed), 3 * drawn(ROWS, 3, seed=seed + 100)
        _, changes = stepped(model, lambda m: (m(x) - y).square().mean(), lambda_h=0.05)  # noqa: B023
        slope = sum(
            -(change * parameter.grad).sum()
            for change, parameter in zip(changes, model.parameters(), strict=True)
        )
        assert slope > 0


def test_infinite_and_very_large_penalties_are_the_same():
    x, y = drawn(ROWS, 4), drawn(ROWS, 3, seed=1)
    loss_of = lambda m: (m(x) - y).square().mean()  # noqa: E731
    _, without = stepped(chain(), loss_of)
    optimizer, large = stepped(chain(), loss_of, lambda_h=1e10)
    for ours, theirs in zip(large, without, strict=True):
        assert_equal(ours, theirs, 1e-6)
    assert "left" in optimizer.curvature.stacks[0].tensors


def test_only_sequences_of_linear_relu_linear_are_chains():
    linears = [nn.Linear(3, 3) for _ in range(6)]
    model = nn.Sequential(
        linears[0], nn.ReLU(), linears[1], nn.Tanh(), linears[2], linears[3],
        nn.Sequential(linears[4], nn.ReLU(), linears[5]),
    )  # fmt: skip
    layers = {x.weight: layers_of(x, str(i))[0] for i, x in enumerate(linears)}
    above = layers_above(model, layers)
    names = {layers[weight].name: upper.name for weight, upper in above.items()}
    assert names == {"0": "1", "4": "5"}


def test_a_run_with_it_goes_on_to_the_bit():
    def run(steps, model=None, state=None):
        model = chain() if model is None else model
        optimizer = BackProjection(model, outer="adam", lambda_h=1.0, gram_every=2)
        if state is not None:
            optimizer.load_state_dict(state)
        for step in steps:
            optimizer.zero_grad()
            (model(drawn(ROWS, 4, seed=step)) - 1).square().mean().backward()
            optimizer.step()
        return model, optimizer

    whole, _ = run(range(9))
    half, optimizer = run(range(5))
    rest, _ = run(range(5, 9), half, optimizer.state_dict())
    for ours, theirs in zip(rest.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    with pytest.raises(ValueError, match=r"lambda_h=1\.0, not inf"):
        BackProjection(chain(), outer="adam").load_state_dict(optimizer.state_dict())


def test_the_polar_factor_does_without_it():
    with pytest.raises(ValueError, match="lambda_h=1: outer='orthogonal' whitens"):
        BackProjection(chain(), lambda_h=1.0)
    with pytest.raises(ValueError, match="lambda_h=0: give a number above 0"):
        BackProjection(chain(), outer="trust", lambda_h=0.0)


def test_layer_that_appears_later_moves_at_once():
    """Until its left factor is known it makes all of the wanted change, as with an infinite λ_h."""
    torch.manual_seed(0)
    changes = []
    for lambda_h in (1.0, math.inf):
        model = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
        optimizer = BackProjection(model, outer="trust", lr=1e6, lambda_h=lambda_h)
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(1))

        def step(model=model, optimizer=optimizer, x=x):
            optimizer.zero_grad()
            (model(x) - 1).square().mean().backward()
            optimizer.step()

        optimizer.param_groups[0]["lr"] = 0.0
        for _ in range(13):
            step()
        torch.manual_seed(2)
        with torch.no_grad():
            model[0].weight.fill_(0.1), model[0].bias.fill_(0.1)
        new = nn.Linear(4, 2)
        model.append(new)
        optimizer.add_param_group({"params": new.parameters(), "momentum": 0.0})
        before = new.weight.detach().clone()
        step()
        changes.append(new.weight.detach() - before)
    assert changes[0].norm() > 0
    torch.testing.assert_close(*changes)


@pytest.mark.parametrize("chain", [True, False])
def test_halves_of_a_batch_add_up_to_it(chain):
    weights = []
    for halves in (1, 2):
        torch.manual_seed(0)
        between = nn.ReLU() if chain else nn.Tanh()
        model = nn.Sequential(nn.Linear(4, 5), between, nn.Linear(5, 3)).double()
        optimizer = BackProjection(model, outer="adam", lambda_h=0.5, factor_every=2, gram_every=1)
        for number in range(6):
            chance = torch.Generator().manual_seed(number)
            x = torch.randn(16, 4, generator=chance, dtype=torch.float64)
            optimizer.zero_grad()
            for part in x.chunk(halves):
                (model(part).square().mean() / halves).backward()
            optimizer.step()
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(*weights, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("module", [nn.Embedding(4, 4), nn.MultiheadAttention(4, 1, kdim=3)])
def test_what_goes_down_to_a_module_of_several_layers_or_tokens_is_not_their_outputs(module):
    optimizer = BackProjection(module, outer="trust", lambda_h=1.0)
    if isinstance(module, nn.Embedding):
        z = module(torch.arange(8) % 4)
    else:
        x = drawn(5, 4).float()
        z = module(x, drawn(5, 3).float(), x)[0]
    z.square().mean().backward()
    optimizer.step()
    for stack in optimizer.curvature.stacks:
        assert (stack.tensors["gram_weight"] == 1).all()
        assert (stack.tensors["output_gram_weight"] == 0).all()


def test_chain_ends_below_a_layer_that_is_too_wide():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    optimizer = BackProjection(model, outer="trust", lambda_h=1.0, widest=5)
    z = model[0](drawn(ROWS, 4))
    z.retain_grad()
    model[2](z.relu()).square().mean().backward()
    with pytest.warns(RuntimeWarning, match="2 has 6 inputs"):
        optimizer.step()
    assert_equal(optimizer.state[model[0].weight]["output_gram"][0], z.grad.T @ z.grad / ROWS)
