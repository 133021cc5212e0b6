"""Transformers as a whole: no look ahead, limits, shares, generation, and what optimizers see."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from datasets.dataset import Split
from new_algorithm.cli.errors import UserError
from new_algorithm.gallery.attention.hierarchy import ROUTES
from new_algorithm.gallery.attention.shape import Architecture, Routing, Shape
from new_algorithm.gallery.attention.tasks import copies, sequence_model
from new_algorithm.gallery.attention.transformer import SCALED, Transformer, generate, mean_shares
from new_algorithm.methods.method import Problem
from new_algorithm.methods.registry import METHODS
from new_algorithm.models.transformer_block import Block
from new_algorithm.torch_optimizer import BackProjection

LENGTH, TOKENS = 13, 7
SHAPES = [Shape(name, 8, 2, 2, (1, 2, 6)) for name in get_args(Architecture)]
SHAPES += [replace(SHAPES[-1], routing=name) for name in ("straight-through", "gumbel", "fixed")]
EVERY = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{s.architecture}, {s.routing}")
SAMPLED = replace(SHAPES[4], routing="gumbel")


def made(shape, tokens=TOKENS):
    torch.manual_seed(0)
    model = Transformer(tokens, TOKENS, LENGTH, shape).double()
    with torch.no_grad():  # so that no bias, norm or mixture is what it is at first
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) / 5)
    return model.eval()


def drawn(rows=3):
    return torch.randint(TOKENS, (rows, LENGTH), generator=torch.Generator().manual_seed(1))


@EVERY
def test_what_is_to_come_changes_nothing_before_it(shape):
    model, tokens = made(shape), drawn()
    before = model(tokens)
    for place in range(LENGTH):
        changed = tokens.clone()
        changed[:, place:] = (changed[:, place:] + 1) % TOKENS
        after = model(changed)
        torch.testing.assert_close(after[:, :place], before[:, :place], rtol=0, atol=1e-12)
        assert not torch.allclose(after[:, place], before[:, place])


@EVERY
def test_what_was_before_is_seen(shape):
    model, tokens = made(shape), drawn()
    changed = tokens.clone()
    changed[:, 0] = (changed[:, 0] + 1) % TOKENS
    assert not torch.allclose(model(changed)[:, -1], model(tokens)[:, -1])


@EVERY
def test_the_beginning_of_a_sequence_is_predicted_as_within_the_whole(shape):
    model, tokens = made(shape), drawn()
    whole = model(tokens)
    for length in range(1, LENGTH + 1):
        torch.testing.assert_close(model(tokens[:, :length]), whole[:, :length])


@EVERY
def test_series_are_classified_by_all_of_their_points(shape):
    model = made(shape, tokens=None)
    x = torch.randn(3, LENGTH, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    x.requires_grad_()
    outputs = model(x)
    assert outputs.shape == (3, TOKENS)
    outputs[0].square().sum().backward()
    assert (x.grad[0].abs() > 0).all()  # the last ones too, which fill no pool of 6
    assert (x.grad[1:] == 0).all()


def test_a_block_without_weights_lets_everything_pass():
    torch.manual_seed(0)
    for kind in SCALED.values():
        block = Block(8, kind(8, 2, (1, 2), True))
        for linear in (block.attention.join, block.down):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        x = torch.randn(2, 5, 8)
        assert torch.equal(block(x), x)


@EVERY
def test_shares_of_every_layer_sum_to_1_and_leave_the_model_as_it_was(shape):
    model = made(shape).float().train()
    state = torch.get_rng_state()
    shares = mean_shares(model, drawn().numpy())
    assert len(shares) == (0 if shape.architecture == "plain" else shape.layers)
    for of_layer in shares:
        assert sum(of_layer) == pytest.approx(1, rel=1e-5)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_tokens_are_drawn_from_the_probabilities_of_all_that_is_seen():
    model = made(SHAPES[0])
    found = generate(model, [3, 1], 60, torch.Generator().manual_seed(0))
    tokens, chance = [3, 1], torch.Generator().manual_seed(0)
    for _ in range(60):
        seen = torch.tensor([tokens[max(0, len(tokens) - LENGTH) :]])
        probabilities = model(seen)[0, -1].softmax(-1)
        tokens.append(int(torch.multinomial(probabilities, 1, generator=chance)))
    assert found == tokens[2:]


def test_a_model_that_is_still_trained_samples_no_levels_as_it_generates():
    model = made(SAMPLED).train()
    drawn = [generate(model, [1], 20, torch.Generator().manual_seed(0)) for _ in range(2)]
    assert drawn[0] == drawn[1] == generate(model.eval(), [1], 20, torch.Generator().manual_seed(0))
    model.train()
    generate(model, [1], 1, torch.Generator())
    assert model.training


@EVERY
def test_back_projection_solves_every_matrix(shape):
    model = made(replace(shape, scales=(1, 2, 4))).float().train()
    optimizer = BackProjection(model)
    for _ in range(2):
        optimizer.zero_grad()
        model(drawn()).square().mean().backward()
        optimizer.step()
    kinds = (nn.Linear, nn.Conv1d)
    matrices = {name for name, module in model.named_modules() if isinstance(module, kinds)}
    assert set(optimizer.solved()) == matrices


def problem(shape, seed=0, parts=4):
    model = sequence_model("copies", shape, LENGTH, 16, seed)
    data = model.load("validation", 256, None)
    return Problem(data, (), 1, seed, model=model, parts=parts)


@pytest.mark.parametrize(
    ("shape", "method"),
    [(shape, "back_projection_torch") for shape in SHAPES]
    + [(SAMPLED, name) for name in ("adamw", "muon", "soap")],
)
def test_same_seed_same_bits(shape, method):
    method = METHODS[method]

    def losses(seed):
        epochs = method.train(problem(shape, seed=seed), method.defaults)
        return [epoch.scores()[1].loss for epoch in epochs]

    assert losses(1) == losses(1) != losses(2)


def test_copies_repeat_themselves_and_cost_what_is_told():
    for length in (5, 12, 13):
        data = copies(length, Split("test"), seed=0)
        whole = np.concatenate([data.x_train[:, :1], data.y_train], 1)
        np.testing.assert_array_equal(whole[:, :-1], data.x_train)
        period = (length + 1) // 2
        np.testing.assert_array_equal(whole[:, period:], whole[:, : length + 1 - period])
        random = sum((data.y_train[:, t] != data.y_train[:, 0]).any() for t in range(1, period - 1))
        assert random + 1 == -(-length // 2) - 1
    other = copies(12, Split("test"), seed=1)
    assert not np.array_equal(other.x_train[:9], copies(12, Split("test"), seed=0).x_train[:9])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"width": 9}, "--width 9 is no multiple of --heads 2"),
        ({"scales": (4, 1)}, "rising order"),
        ({"scales": (1, 1)}, "rising order"),
        ({"scales": ()}, "rising order"),
        ({"scales": (1, 16)}, "sequences have 13 places"),
        ({"scales": (1, 2, 5)}, "5 is no multiple of 2"),
    ],
)
def test_shapes_that_cannot_be_are_refused(changed, words):
    shape = replace(SHAPES[4], **changed)
    with pytest.raises(UserError, match=words):
        shape.check(LENGTH)


def test_every_choice_is_offered():
    assert set(get_args(Routing)) == set(ROUTES)
    assert set(get_args(Architecture)) == {"plain", "hierarchical", *SCALED}
