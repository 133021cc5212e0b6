"""A state that is saved, loaded, copied and pickled goes on to the bit, or is refused."""

import copy
import io
import math
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR

from new_algorithm.torch_optimizer import BackProjection
from new_algorithm.torch_optimizer.outer_steps import OUTER
from tests.torch_optimizer.small import (
    assert_same_state,
    assert_same_weights,
    batch,
    copies,
    small,
    snapshot,
    train,
)

# Gram matrices come every 5 steps, factors at 0, 3, 12 and 32, judgements at 0 and 20
STARTS, AHEAD = (0, 1, 3, 4, 5, 6, 12, 13, 19, 20, 21, 25), 5


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True, map_location="cpu")


def seeded(model, optimizer, numbers, judged):
    for number in numbers:
        torch.manual_seed(number)  # for dropout
        train(model, optimizer, [number], judged)


@pytest.mark.parametrize("judged", [False, True], ids=["plain", "judged"])
@pytest.mark.parametrize(
    ("outer", "lambda_h"), [*((outer, math.inf) for outer in OUTER), ("trust", 1.0), ("adam", 0.5)]
)
def test_run_resumed_after_any_step_equals_the_uninterrupted(outer, lambda_h, judged):
    model = small(dropout=0.1)
    settings = {"outer": outer, "lambda_h": lambda_h}
    optimizer = BackProjection(model, rows=16, **settings)
    kept = []
    for number in range(max(STARTS) + AHEAD):
        kept.append((copy.deepcopy(model.state_dict()), through_a_file(optimizer.state_dict())))
        seeded(model, optimizer, [number], judged)
    kept.append((model.state_dict(), optimizer.state_dict()))
    for start in STARTS:
        other = small(seed=1, dropout=0.1)
        # the state brings its own lr, number of rows and widest layer
        resumed = BackProjection(other, lr=7.0, widest=1, **settings)
        other.load_state_dict(kept[start][0])
        resumed.load_state_dict(kept[start][1])
        seeded(other, resumed, range(start, start + AHEAD), judged)
        weights, state = kept[start + AHEAD]
        assert_same_state(dict(other.state_dict()), dict(weights))
        assert_same_state(resumed.state_dict(), through_a_file(state))


def test_state_brings_the_intervals_along():
    model, other = small(), small(seed=1)
    optimizer = BackProjection(model, gram_every=2, factor_every=3, judge_every=4)
    train(model, optimizer, range(5), judged=True)
    resumed = BackProjection(other)
    other.load_state_dict(model.state_dict())
    resumed.load_state_dict(through_a_file(optimizer.state_dict()))
    for each in ((model, optimizer), (other, resumed)):
        train(*each, range(5, 15), judged=True)
    assert_same_weights(model, other)


@pytest.mark.parametrize("outer", OUTER)
def test_state_loads_into_another_dtype(outer):
    model = small()
    optimizer = BackProjection(model, outer=outer)
    train(model, optimizer, range(7))
    wide = small().double()
    wide.load_state_dict(model.state_dict())
    again = BackProjection(wide, outer=outer)
    again.load_state_dict(through_a_file(optimizer.state_dict()))
    assert {
        tensor.dtype for stack in again.curvature.stacks for tensor in stack.tensors.values()
    } == {torch.float64}
    train(model, optimizer, range(7, 12))
    train(wide, again, range(7, 12))
    assert_same_weights(wide.float(), model, tolerance=1e-4)


class Wider(nn.Module):
    """As many parameters as small(), some of other shapes."""

    def __init__(self, change):
        super().__init__()
        self.inside = small()
        change(self.inside)

    def forward(self, tokens):
        return self.inside(tokens)


def more_classes(model):
    model.linear = nn.Linear(6, 5)


def more_channels(model):
    model.convolution, model.linear = nn.Conv1d(4, 8, 2), nn.Linear(8, 3)


def more_tokens(model):
    model.embedding = nn.Embedding(9, 4)


@pytest.mark.parametrize("change", [more_classes, more_channels, more_tokens])
@pytest.mark.parametrize("outer", OUTER)
def test_state_of_another_model_is_refused_and_changes_nothing(outer, change):
    model, other = small(), Wider(change)
    optimizer, strange = (BackProjection(one, outer=outer) for one in (model, other))
    train(model, optimizer, range(2))
    train(other, strange, range(3))
    before = snapshot(optimizer)
    with pytest.raises(ValueError, match="it is of another model") as raised:
        optimizer.load_state_dict(strange.state_dict())
    assert "\n" not in str(raised.value)
    assert_same_state(optimizer.state_dict(), before)
    train(model, optimizer, range(2, 4))


def another_outer(model):
    return BackProjection(model, outer="adam")


def adam_w(model):
    return torch.optim.AdamW(model.parameters())


def fewer_parameters(model):
    return BackProjection(model, model.linear.parameters())


def two_groups(model):
    linear = set(model.linear.parameters())
    others = [parameter for parameter in model.parameters() if parameter not in linear]
    return BackProjection(model, [{"params": others}, {"params": list(linear)}])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (another_outer, "outer='adam', not 'orthogonal'"),
        (adam_w, "not of a BackProjection"),
        (fewer_parameters, "size"),
        (two_groups, "groups"),
    ],
)
def test_state_of_another_optimizer_is_refused_and_changes_nothing(make, words):
    model, other = small(), small()
    optimizer, strange = BackProjection(model), make(other)
    train(model, optimizer, range(2))
    train(other, strange, range(2))
    before = snapshot(optimizer)
    with pytest.raises(ValueError, match=words):
        optimizer.load_state_dict(strange.state_dict())
    assert_same_state(optimizer.state_dict(), before)


def by_copy(pair):
    return copy.deepcopy(pair)


def by_pickle(pair):
    return pickle.loads(pickle.dumps(pair))


@pytest.mark.parametrize("order", [1, -1], ids=["model first", "optimizer first"])
@pytest.mark.parametrize("make", [by_copy, by_pickle])
@pytest.mark.parametrize("outer", OUTER)
def test_copy_of_model_and_optimizer_trains_on_like_them(outer, make, order):
    model = small()
    optimizer = BackProjection(model, outer=outer)
    optimizer.register_step_post_hook(lambda *_: None)  # which cannot be pickled
    train(model, optimizer, range(4), judged=True)
    twin, its_own = make((model, optimizer)[::order])[::order]
    assert its_own.model is twin
    before = copies(model), snapshot(optimizer)
    train(twin, its_own, range(4, 12), judged=True)
    assert_same_weights(model, before[0])
    assert_same_state(optimizer.state_dict(), before[1])
    train(model, optimizer, range(4, 12), judged=True)
    assert_same_weights(twin, model)
    assert_same_state(its_own.state_dict(), optimizer.state_dict())


def test_copy_with_a_schedule_takes_its_own_steps():
    model = small()
    optimizer = BackProjection(model)
    schedule = LambdaLR(optimizer, lambda step: 1 / (1 + step))
    twin, its_own, again = copy.deepcopy((model, optimizer, schedule))
    before = copies(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that its step is no longer the one that was wrapped
        for number in range(3):
            train(twin, its_own, [number])
            again.step()
    assert_same_weights(model, before)
    for number in range(3):
        train(model, optimizer, [number])
        schedule.step()
    assert_same_weights(twin, model)


def saved_whole(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("make", [by_copy, by_pickle, saved_whole])
def test_copy_of_the_model_alone_is_silent(make):
    model = small()
    optimizer = BackProjection(model)
    train(model, optimizer, range(4))
    twin = make(model)
    assert_same_weights(twin, model)
    tokens, labels = batch(0)
    cross_entropy(twin(tokens), labels).backward()
    assert not optimizer.curvature.watches.seen
    train(twin, BackProjection(twin), range(4))  # and can have an optimizer of its own


def test_state_before_any_step_resumes_too():
    model, other = small(), small()
    optimizer, fresh = BackProjection(model), BackProjection(other)
    optimizer.load_state_dict(through_a_file(fresh.state_dict()))  # before any step
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(model, optimizer, range(3))
        train(other, fresh, range(3))
    assert_same_weights(model, other)


@pytest.mark.filterwarnings("ignore:.*the gradient of embedding:RuntimeWarning")
def test_steps_refused_before_count_after():
    """The third in a row goes back to the last good weights."""
    model, other = small(), small(seed=1)
    optimizer, resumed = BackProjection(model), BackProjection(other)
    train(model, optimizer, range(1), judged=True)
    good = copies(model)
    with torch.no_grad():
        model.linear.weight.fill_(math.inf)
    train(model, optimizer, range(2), judged=True)
    other.load_state_dict(model.state_dict())
    resumed.load_state_dict(through_a_file(optimizer.state_dict()))
    with pytest.warns(RuntimeWarning, match="no step could be made 3 times: back to"):
        train(other, resumed, range(1), judged=True)
    assert_same_weights(other, good)
