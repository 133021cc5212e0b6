"""Floating-point operations, counted by hand on small shapes."""

import numpy as np
import pytest
from torch.utils.flop_counter import conv_flop_count

from new_algorithm.profiling import products
from new_algorithm.profiling.torch_products import convolution_backward, products_of

INPUTS, DELTA = np.zeros((5, 3)), np.zeros((5, 2))  # H̃ with d = 3, Δ with m = 2
WEIGHT = np.zeros((3, 2))


def test_a_product_has_a_multiplication_and_an_addition_for_each_of_its_terms():
    assert products.product(2, 3, 4) == 2 * (2 * 4) * 3


def test_products_of_a_sweep():
    assert products.moment_sums(INPUTS, DELTA, with_gram=False) == 2 * 5 * 3 * 2
    assert products.moment_sums(INPUTS, DELTA, with_gram=True) == 2 * 5 * 3 * 2 + 2 * 5 * 3 * 3
    assert products.passing_down(DELTA, WEIGHT) == 2 * 5 * 2 * 2  # the bias passes nothing down
    assert products.inverse(3) == 27
    assert products.inverse_applied(WEIGHT) == 2 * 3 * 3 * 2
    assert products.inverse_applied(np.zeros((200, 2))) == 2 * (2 * 200 * 16 * 2)  # 16 eigenvectors
    assert products.inverse(200) == 2 * (2 * 200 * 200 * 16) + 2 * 16 * 200 * 16 + 2 * 200 * 16 * 16
    # Qᵀ M, then U from the right, and back
    assert products.exact_form(WEIGHT) == 2 * (2 * 3 * 3 * 2 + 2 * 3 * 2 * 2)


def test_products_of_conjugate_gradients():
    count = products.by_conjugate_gradients
    by_g, by_k = 2 * 3 * 3 * 2, 2 * 3 * 2 * 2
    assert count(None, WEIGHT, np.inf, 4, 6) == 5 * by_g  # one for the residual at the end
    assert count(None, WEIGHT, 1.0, 4, 6) == 5 * (by_g + by_k) + 2 * 2 * 2 * 2  # K of (2, 2)
    # with few rows H̃ᵀ(H̃ V), with many H̃ᵀH̃ once
    assert count(1, WEIGHT, np.inf, 4, 1) == 5 * 2 * (2 * 1 * 3 * 2)
    assert count(100, WEIGHT, np.inf, 4, 6) == 2 * 100 * 3 * 3 + 5 * by_g


@pytest.mark.parametrize(
    ("name", "shapes", "flops"),
    [
        ("aten::mm", [[2, 3], [3, 4]], 48),
        ("aten::addmm", [[4], [2, 3], [3, 4], [], []], 48),
        ("aten::bmm", [[5, 2, 3], [5, 3, 4]], 240),
        ("aten::baddbmm", [[5, 2, 4], [5, 2, 3], [5, 3, 4], [], []], 240),
    ],
)
def test_matrix_products_among_operators(name, shapes, flops):
    assert products_of(name, shapes, None).flops == flops


@pytest.mark.parametrize(("stride", "padding", "places"), [(1, 0, 6), (1, 1, 8), (2, 1, 4)])
def test_convolutions_are_counted_as_torch_counts_them(stride, padding, places):
    x, weight = [4, 6, 8, 8], [10, 3, 3, 3]  # two groups of three channels
    given = [None, None, None, [stride] * 2, [padding] * 2, [1, 1]]
    found = products_of("aten::convolution", [x, weight], given)
    output = [4, 10, places, places]
    assert found.flops == conv_flop_count(x, weight, output) == 2 * 4 * places**2 * 10 * 3 * 9
    for wanted, times in ([False, True, True], 1), ([True, True, False], 2):
        assert convolution_backward([output, x, weight], [wanted]).flops == times * found.flops


def test_other_operators_have_no_products():
    assert products_of("aten::mul", [[2, 3], [2, 3]], None) is None
