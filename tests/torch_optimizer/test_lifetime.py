"""Hooks that end with their optimizer, memory that does not grow, and equal ranks."""

import copy
import gc
import math
import socket
import weakref
from unittest.mock import patch

import pytest
import torch
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.functional import cross_entropy
from torch.overrides import _get_current_function_mode_stack

from new_algorithm.torch_optimizer import BackProjection
from new_algorithm.torch_optimizer.outer_steps import OUTER
from tests.torch_optimizer.small import assert_same_weights, batch, down, small, train

RANKS, STEPS = 2, 7
AVERAGED, JUDGED = (0, 3, 5), (0, 3, 6)  # steps: every fifth, and at factorisations; every third
CASES = [(outer, math.inf, judged) for outer in OUTER for judged in (False, True)]
CASES += [("trust", 1.0, False), ("adam", 1.0, True)]


def hooks_of(model):
    return sum(
        len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules()
    )


def test_optimizer_is_freed_with_its_last_name_and_the_model_works_on():
    model = small()
    optimizer = BackProjection(model)
    train(model, optimizer, range(3), judged=True)
    statistics = weakref.ref(optimizer.curvature.stacks[0].tensors["gram"])
    watches, gone = weakref.ref(optimizer.curvature.watches), weakref.ref(optimizer)
    gc.disable()  # not even a cycle is left to be found
    try:
        del optimizer
        assert gone() is None
        assert watches() is None
        assert statistics() is None
    finally:
        gc.enable()
    tokens, labels = batch(0)
    cross_entropy(model(tokens), labels).backward()
    train(model, BackProjection(model), range(3))


def test_model_is_freed_with_the_optimizer():
    model = small()
    optimizer = BackProjection(model)
    train(model, optimizer, range(3))
    gone = weakref.ref(model)
    parameter = weakref.ref(model.convolution.weight)
    del model, optimizer
    gc.collect()
    assert gone() is None
    assert parameter() is None


def test_detaching_removes_all_hooks():
    model = small()
    before = hooks_of(model)
    optimizer = BackProjection(model)
    assert hooks_of(model) > before
    train(model, optimizer, range(3))
    optimizer.detach()
    assert hooks_of(model) == before
    train(model, optimizer, range(3, 5))  # with the last inverses


@pytest.mark.parametrize("judged", [False, True], ids=["plain", "judged"])
@pytest.mark.parametrize("outer", OUTER)
def test_memory_does_not_grow(outer, judged):
    def tensors():
        gc.collect()
        found = [x for x in gc.get_objects() if issubclass(type(x), torch.Tensor)]
        return len(found), sum(x.numel() for x in found)

    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2))
    optimizer = BackProjection(model, outer=outer, factor_every=10, judge_every=10)
    tokens = torch.arange(8) % 5

    def closure():
        optimizer.zero_grad()
        loss = model(tokens).square().mean()
        loss.backward()
        return loss.detach()

    def steps(count):
        for _ in range(count):
            if judged:
                optimizer.step(closure)
            else:
                closure()
                optimizer.step()

    steps(21)
    before = tensors()
    steps(1_000)
    assert tensors() == before


def trained_with_others(rank, port, folder):
    """One rank's part of every batch, in each case; what it came to goes to a file."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=RANKS
    )
    says_what_ranks_need()
    found = {}
    for case in CASES:
        *_, judged = case
        parallel = nn.parallel.DistributedDataParallel(small().double())
        # it is found within what it is wrapped in, too
        optimizer = optimizer_of(nn.Sequential(parallel), case)
        rows = slice(rank, None, RANKS)
        reduce = torch.distributed.all_reduce
        with patch.object(torch.distributed, "all_reduce", wraps=reduce) as reductions:
            run(parallel, optimizer, rows, judged, range(STEPS))
        # all Gram matrices in one of them, where they are averaged; the losses of a judged step
        assert reductions.call_count == len(AVERAGED) + judged * len(JUDGED)
        optimizer = copy.deepcopy(optimizer)  # and it goes on with the ranks of the copied model
        run(optimizer.model, optimizer, rows, judged, range(STEPS, 2 * STEPS))
        found[case] = [
            [parameter.detach() for parameter in optimizer.model.parameters()],
            [stack.tensors["gram"] for stack in optimizer.curvature.stacks],
            optimizer.judge.control.bound,
        ]
    torch.save(found, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def says_what_ranks_need():
    with pytest.warns(RuntimeWarning, match="sees no DistributedDataParallel"):
        BackProjection(nn.Linear(3, 2))
    sharded = FullyShardedDataParallel(nn.Linear(3, 2), device_id=torch.device("cpu"))
    with pytest.raises(ValueError, match="the model is in shards"):
        BackProjection(sharded)


def optimizer_of(model, case):
    outer, lambda_h, _ = case
    return BackProjection(model, outer=outer, lambda_h=lambda_h, judge_every=3)


def run(model, optimizer, rows, judged, steps):
    for number in steps:
        tokens, labels = batch(number)

        def closure(tokens=tokens[rows], labels=labels[rows]):
            optimizer.zero_grad()
            loss = cross_entropy(model(tokens), labels)
            loss.backward()
            return loss

        if judged:
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()


def test_ranks_are_equal_and_together_one_process(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = torch.multiprocessing.get_context("spawn")
    ranks = [
        context.Process(target=trained_with_others, args=(rank, port, tmp_path), daemon=True)
        for rank in range(RANKS)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(300)
        assert rank.exitcode == 0
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(RANKS))
    for case, (weights, grams, bound) in first.items():
        others = second[case]
        for one, two in zip([*weights, *grams], [*others[0], *others[1]], strict=True):
            assert torch.equal(one, two)
        assert bound == others[2]
        model = small().double()
        optimizer = optimizer_of(model, case)
        *_, judged = case
        run(model, optimizer, slice(None), judged, range(2 * STEPS))
        assert_same_weights(model, weights, tolerance=1e-7)
        assert bound == pytest.approx(optimizer.judge.control.bound)
        for stack, gram in zip(optimizer.curvature.stacks, grams, strict=True):
            torch.testing.assert_close(stack.tensors["gram"], gram)


def test_copies_of_a_model_share_no_hooks():
    model = small()
    optimizer = BackProjection(model)
    twin = copy.deepcopy(model)
    optimizer.detach()
    assert hooks_of(twin) > 0
    assert hooks_of(model) == 0
    twin(batch(0)[0])


def test_hooks_of_copies_and_of_optimizers_that_are_no_more_go_with_the_first_call():
    model = small()
    before = hooks_of(model)
    optimizer = BackProjection(model)
    twin = copy.deepcopy(model)
    del optimizer
    for one in (model, twin):
        assert hooks_of(one) > before
        one(batch(0)[0])
        assert hooks_of(one) == before


def test_exporting_a_model_leaves_no_trace():
    model, tokens = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2)), torch.arange(4)
    before = torch.export.export(model, (tokens,))
    optimizer = BackProjection(model, outer="trust")
    exported = torch.export.export(model, (tokens,))
    assert len(exported.graph.nodes) == len(before.graph.nodes)
    torch.testing.assert_close(exported.module()(tokens), model(tokens))
    down(model(tokens))
    optimizer.step()
    assert optimizer.solved() == ["1", "0"]


def test_attention_that_fails_or_has_no_optimizer_leaves_functions_alone():
    model = small()
    optimizer = BackProjection(model)
    rows = torch.ones(2, 3, 4)
    with pytest.raises(Exception, match=r"shape|size|dim"):
        model.attention(rows, rows, torch.ones(2, 9, 5))
    assert not _get_current_function_mode_stack()
    del optimizer
    modes = []
    model.attention.register_forward_pre_hook(
        lambda module, args: modes.extend(_get_current_function_mode_stack())
    )
    model.attention(rows, rows, rows)
    assert not modes
