"""Each rule on what it warns of, and on the same done right."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F  # noqa: N812

from new_algorithm.model_advice import Suggestion, advise
from new_algorithm.model_advice.rules import RULES
from new_algorithm.model_advice.rules.inputs import channel_statistics
from new_algorithm.model_advice.rules.losses import least_after_softmax
from tests.model_advice.examples import EXAMPLES
from tests.model_advice.small_models import IMAGES, cnn, images, mlp, regress

NAMES = list(EXAMPLES)


def rules_that_speak(**arguments):
    return [one.rule for one in advise(**arguments) if isinstance(one, Suggestion)]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_wrong_draws_this_suggestion_alone(name):
    rule, wrong, _ = EXAMPLES[name]
    assert rules_that_speak(**wrong()) == [rule]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_right_draws_nothing(name):
    _, _, right = EXAMPLES[name]
    assert advise(**right()) == []


def test_every_rule_has_examples_and_every_suggestion_all_its_words():
    assert {rule for rule, _, _ in EXAMPLES.values()} == {rule.__name__ for rule in RULES}
    for name in NAMES:
        for one in advise(**EXAMPLES[name][1]()):
            if isinstance(one, Suggestion):
                assert all(vars(one).values()), name


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_least_cross_entropy_of_probabilities_is_that_of_a_sure_and_right_softmax(classes):
    sure = torch.zeros(1, classes, dtype=torch.float64)
    sure[0, 0] = 60.0
    loss = F.cross_entropy(sure.softmax(dim=1), torch.tensor([0]))
    assert least_after_softmax(classes) == pytest.approx(loss.item(), rel=1e-12)


def test_dropout_of_mean_zero_raises_the_variance_by_one_over_what_it_keeps():
    torch.manual_seed(0)
    x = torch.randn(400_000)
    for rate in (0.1, 0.5):
        assert F.dropout(x, rate).var().item() == pytest.approx(1 / (1 - rate), rel=0.03)


def test_a_bias_before_batch_normalisation_has_no_effect():
    torch.manual_seed(0)
    model = cnn(nn.BatchNorm2d(5), bias=True)
    before = model(IMAGES)
    model[0].bias.data += torch.tensor([1.0, -2, 3, 4, 5])
    torch.testing.assert_close(model(IMAGES), before, rtol=1e-4, atol=1e-4)


@given(
    st.lists(st.floats(-0.9, 0.9), min_size=3, max_size=3),
    st.lists(st.floats(0.05, 2), min_size=3, max_size=3),
)
def test_constants_that_are_suggested_are_those_of_the_data(mean, deviation):
    """Whatever constants were used, the data's own are the sum and product that is suggested."""
    columns = torch.tensor(mean)[:, None, None], torch.tensor(deviation)[:, None, None]
    data = IMAGES * 3 + 7
    (one,) = advise(
        **images(cnn(nn.Tanh()), normalisation=(mean, deviation), clip_norm=1.0)
        | {"x": (data - columns[0]) / columns[1]}
    )
    words = one.instead.replace(",", "").split()
    expected_mean, expected_deviation = channel_statistics(data)
    start, middle = words.index("mean"), words.index("deviation")
    assert [float(w) for w in words[start + 1 : start + 4]] == pytest.approx(
        expected_mean.tolist(), rel=6e-3
    )
    assert [float(w) for w in words[middle + 1 : middle + 4]] == pytest.approx(
        expected_deviation.tolist(), rel=6e-3
    )


def test_the_worst_comes_first():
    rules = [rule.__name__ for rule in RULES]
    model = cnn(nn.Dropout(0.5), nn.BatchNorm2d(5), nn.Softmax(dim=1), bias=True)
    found = rules_that_speak(**images(nn.Sequential(model, nn.Softmax(dim=1))))
    assert len(found) >= 2
    assert found == sorted(found, key=rules.index)


def test_norms_that_are_not_finite_ask_for_clipping_and_are_told():
    advice = advise(**regress(mlp(outputs=1), y=torch.full((32, 1), math.inf)))
    assert "no_clipping" in [one.rule for one in advice if isinstance(one, Suggestion)]
    assert any("The loss of this batch is inf" in str(one) for one in advice)
