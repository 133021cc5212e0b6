"""What is derived, against every choice there is; random cells, their size, and its count."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from new_algorithm.gallery.architecture_search.cells import (
    Plan,
    channels_of_cells,
    kinds_of_cells,
    parameters_of,
)
from new_algorithm.gallery.architecture_search.genotypes import (
    KINDS,
    Edge,
    all_edges,
    derive,
    genotype_of,
    random_genotype,
    random_of_size,
    rows_of,
)
from new_algorithm.gallery.architecture_search.operations import NAMES

PLAN = Plan(1, 10, channels=4, cells=5, nodes=3)


def test_edges_go_from_every_earlier_node():
    assert all_edges(2) == [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    assert len(all_edges(4)) == 14


def test_reductions_are_a_third_and_two_thirds_of_the_way_up():
    assert kinds_of_cells(3) == ["normal", "reduction", "reduction"]
    assert [i for i, kind in enumerate(kinds_of_cells(8)) if kind == "reduction"] == [2, 5]
    assert channels_of_cells(8, 16) == [16, 16, 32, 32, 32, 64, 64, 64]


@given(st.integers(0, 10_000), st.integers(1, 3))
def test_derivation_takes_the_best_of_all_pairs_of_edges_and_operations(seed, nodes):
    alpha = np.random.default_rng(seed).normal(size=(len(all_edges(nodes)), len(NAMES)))
    share = {
        (source, target, name): np.exp(row[o]) / np.exp(row).sum()
        for (source, target), row in zip(all_edges(nodes), alpha, strict=True)
        for o, name in enumerate(NAMES)
    }
    expected = set()
    for target in range(2, 2 + nodes):
        choices = [key for key in share if key[1] == target and key[2] != "none"]
        pairs = [
            pair for pair in itertools.combinations(choices, 2) if pair[0][0] != pair[1][0]
        ]  # from two different nodes
        best = max(pairs, key=lambda pair: share[pair[0]] + share[pair[1]])
        expected |= {Edge(target, source, name) for source, _, name in best}
    assert set(derive(alpha, nodes)) == expected
    assert len(derive(alpha, nodes)) == 2 * nodes


def test_none_is_never_chosen_but_weakens_its_edge():
    alpha = np.zeros((5, len(NAMES)))
    alpha[:, NAMES.index("conv_3x3")] = [1, 1, 3, 2, 2]
    alpha[2, NAMES.index("none")] = 9  # the strongest logit of node 3's edges, of a small share
    assert derive(alpha, 2) == (
        Edge(2, 0, "conv_3x3"),
        Edge(2, 1, "conv_3x3"),
        Edge(3, 1, "conv_3x3"),
        Edge(3, 2, "conv_3x3"),
    )


def check(genotype, nodes):
    assert tuple(genotype) == KINDS
    for edges in genotype.values():
        for target in range(2, 2 + nodes):
            sources = [edge.source for edge in edges if edge.target == target]
            assert len(set(sources)) == len(sources) == 2
            assert max(sources) < target
        assert {edge.operation for edge in edges} <= set(NAMES) - {"none"}
        assert len(edges) == 2 * nodes


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_random_genotypes_are_valid_and_their_seeds_decide(seed, nodes):
    genotype = random_genotype(np.random.default_rng(seed), nodes)
    check(genotype, nodes)
    assert genotype == random_genotype(np.random.default_rng(seed), nodes)


def test_random_genotypes_are_evenly_drawn():
    rng, counts = np.random.default_rng(0), Counter()
    for _ in range(3_000):
        counts.update(edge for edge in random_genotype(rng, 2)["normal"] if edge.target == 3)
    assert len(counts) == 3 * 9  # sources and operations
    expected = 3_000 * 2 / 27
    assert sum((n - expected) ** 2 for n in counts.values()) / expected < 55.5  # χ² of 26, p .001


def test_size_is_the_number_of_parameters_of_the_network():
    rng, sizes = np.random.default_rng(0), PLAN.sizes()
    for genotype in (random_genotype(rng, 3) for _ in range(10)):
        assert sizes.of(genotype) == parameters_of(PLAN.derived(genotype))


@pytest.mark.parametrize("operation", ["skip", "conv_5x5", "dilated_3x3"])
def test_random_genotypes_of_a_size_have_it(operation):
    sizes, nodes = PLAN.sizes(), 3
    cell = tuple(Edge(t, s, operation) for t in range(2, 2 + nodes) for s in (0, t - 1))
    target = sizes.of({kind: cell for kind in KINDS})
    found = random_of_size(np.random.default_rng(1), nodes, sizes, target, 0.1)
    check(found, nodes)
    assert abs(sizes.of(found) / target - 1) <= 0.1
    assert found == random_of_size(np.random.default_rng(1), nodes, sizes, target, 0.1)


def test_random_genotypes_of_a_size_are_evenly_drawn_from_all_of_that_size():
    """Against all 6,561 pairs of cells of one node."""
    plan = Plan(1, 10, channels=4, cells=3, nodes=1)
    sizes, names = plan.sizes(), NAMES[1:]
    cells = [(Edge(2, 0, a), Edge(2, 1, b)) for a, b in itertools.product(names, repeat=2)]
    target = sizes.of({"normal": cells[11], "reduction": cells[60]})
    fitting = [
        (normal, reduction)
        for normal, reduction in itertools.product(cells, repeat=2)
        if abs(sizes.of({"normal": normal, "reduction": reduction}) / target - 1) <= 0.1
    ]
    assert 100 < len(fitting) < 3_000
    expected = Counter(reduction[0].operation for _, reduction in fitting)
    rng, drawn = np.random.default_rng(0), Counter()
    count = 300
    for _ in range(count):
        genotype = random_of_size(rng, 1, sizes, target, 0.1, steps=150)
        drawn[genotype["reduction"][0].operation] += 1
    chi_squared = sum(
        (drawn[name] - count * n / len(fitting)) ** 2 / (count * n / len(fitting))
        for name, n in expected.items()
    )
    assert drawn.keys() <= expected.keys()
    assert chi_squared < 26.1  # of 8 degrees, p .001


def test_a_size_that_no_cell_has_gives_nearly_the_nearest():
    sizes = PLAN.sizes()
    huge = random_of_size(np.random.default_rng(1), 3, sizes, 10**9, 0.1)
    largest = tuple(Edge(t, s, "conv_5x5") for t in range(2, 5) for s in range(2))
    check(huge, 3)
    assert sizes.of(huge) == pytest.approx(sizes.of(dict.fromkeys(KINDS, largest)), rel=0.05)


@pytest.mark.parametrize("side", [28, 32])
def test_networks_give_logits_of_every_class_for_images_of_either_size(side):
    plan = Plan(3, 7, channels=4, cells=3, nodes=2)
    x = torch.zeros(2, 3, side, side)
    derived = plan.derived(random_genotype(np.random.default_rng(0), 2))
    assert derived(x).shape == (2, 7)
    alphas = {kind: torch.zeros(5, len(NAMES)) for kind in KINDS}
    assert plan.mixture()(x, alphas).shape == (2, 7)


def test_a_genotype_comes_back_from_the_texts_of_its_rows():
    genotype = random_genotype(np.random.default_rng(0), 3)
    texts = [{name: str(cell) for name, cell in row.items()} for row in rows_of(genotype)]
    assert genotype_of(texts) == genotype
