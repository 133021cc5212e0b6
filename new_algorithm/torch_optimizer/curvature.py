"""What an optimizer knows of its layers: averages of Gram matrices and their inverses."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from new_algorithm.torch_optimizer import output_factors
from new_algorithm.torch_optimizer.layers import Layer
from new_algorithm.torch_optimizer.stacks import Part, Stack, part_with_gradients, stack_key
from new_algorithm.torch_optimizer.statistics import (
    GRAM,
    OUTPUT_GRAM,
    average_over_ranks,
    keys_not_finite,
)
from new_algorithm.torch_optimizer.watches import Group, Watches

Groups = Sequence[Group]


class Curvature:
    """watches: the hooks. stacks: of layers that have been seen, in the order of their beginnings.

    Gram matrices are averaged every `gram_every` steps, and factored `factor_every` steps after the
    last time, sooner at the beginning and when the damping changes. remembered: what the stacks
    hold for the outer step. lambda_h: if it is finite, outputs are watched too. process_group: over
    whose ranks is averaged. unseen: weights of layers that get gradients, but show no inputs.
    """

    def __init__(
        self,
        *,
        rows: int,
        widest: int,
        gram_every: int,
        factor_every: int,
        remembered: Sequence[str],
        lambda_h: float,
        process_group: Any,
    ) -> None:
        self.watches = Watches(rows, widest, outputs=math.isfinite(lambda_h))
        self.stacks: list[Stack] = []
        self.next_factoring = 0
        self.damping = 1.0  # the factor on λ_w of the last factorisation
        self.remembered, self.lambda_h = remembered, lambda_h
        self.gram_every, self.factor_every = gram_every, factor_every
        self.process_group = process_group
        self.unseen: set[Tensor] = set()

    def attach(self, model: nn.Module, groups: Mapping[Tensor, Group], embeddings: bool) -> None:
        """Watch the layers with these weights, in these groups, that are not watched yet."""
        self.watches.attach(model, groups, embeddings)
        if self.watches.outputs:
            self.watches.link(output_factors.layers_above(model, self.watches.layers))

    def plan(self, iteration: int, damping: float) -> None:
        """Say whether this iteration wants Gram matrices, and with which choice of rows."""
        self.watches.seed = iteration
        is_due = self._is_factoring_due(iteration, damping)
        self.watches.gathering = iteration % self.gram_every == 0 or is_due

    def learn(self, iteration: int, damping: float, groups: Groups) -> list[str]:
        """Average what was seen; put layers seen for the first time into stacks; factor.

        Returns what is to be said of numbers that are not finite, of layers that are not seen and
        of factors that failed.
        """
        watches, troubles = self.watches, []
        seen = watches.means()
        if self.process_group is not None:
            shapes = watches.shapes() if watches.gathering else {}
            seen = average_over_ranks(seen, shapes, self.process_group)
        watches.clear()
        for name, weight in keys_not_finite(seen):
            of = {GRAM: "inputs", OUTPUT_GRAM: "output gradients"}[name]
            where = watches.layers[weight].name
            troubles.append(f"the Gram matrix of the {of} of {where} is not finite")
            del seen[name, weight]
        self._begin_stacks({weight for name, weight in seen if name == GRAM}, groups)
        if not troubles:
            troubles += self._find_unseen()
        for stack in self.stacks:
            decay = groups[stack.group]["gram_decay"]
            for place, layer in enumerate(stack.layers):
                for name in (GRAM, OUTPUT_GRAM):
                    if (name, layer.weight) in seen:
                        stack.average(name, place, seen[name, layer.weight], decay)
        if is_due := self._is_factoring_due(iteration, damping):
            wait = min(self.factor_every, max(3, 3 * iteration))
            self.next_factoring, self.damping = iteration + wait, damping
        for stack in self.stacks:
            if is_due or not stack.is_factored:
                failed = stack.factor(damping * groups[stack.group]["lambda_w"])
                troubles += [
                    f"the Gram matrix of {name} cannot be factored; its last one stays"
                    for name in failed
                ]
        if is_due and watches.outputs:
            self._factor_outputs()
        return troubles

    def _is_factoring_due(self, iteration: int, damping: float) -> bool:
        return iteration >= self.next_factoring or damping != self.damping

    def _begin_stacks(self, seen: set[Tensor], groups: Groups) -> None:
        new: dict[Any, list[Layer]] = {}
        for weight, layer in self.watches.layers.items():
            if weight in seen and weight not in self.watches.known:
                new.setdefault(stack_key(layer, group_of(weight, groups)), []).append(layer)
        for (group, *_), layers in new.items():
            self.begin_stack(layers, group)

    def _find_unseen(self) -> list[str]:
        """Return what is to be said of layers that have gradients, and have never shown inputs."""
        watches, found = self.watches, []
        for weight, layer in watches.layers.items():
            is_new = weight not in watches.known and weight not in self.unseen
            if is_new and weight.grad is not None:
                self.unseen.add(weight)
                why = (
                    "a gradient, but no call of its module has shown its inputs (a model is "
                    "compiled after its optimizer is made; a weight that a function uses cannot be "
                    "seen)"
                )
                if watches.is_too_wide(layer):
                    why = f"{layer.width_of_rows} inputs, more than widest={watches.widest}"
                found.append(f"{layer.name} has {why}: AdamW trains it")
        return found

    def begin_stack(self, layers: Sequence[Layer], group: int) -> Stack:
        """Let these layers, of equal shape, remember from now on."""
        stack = Stack(layers, group, self.remembered, self.watches.outputs)
        self.stacks.append(stack)
        weights = {layer.weight for layer in layers}
        self.watches.known |= weights
        self.unseen -= weights
        return stack

    def _factor_outputs(self) -> None:
        seen = {
            layer.weight: stack.state_of(place)[OUTPUT_GRAM]
            for stack in self.stacks
            for place, layer in enumerate(stack.layers)
        }
        layers = [layer for stack in self.stacks for layer in stack.layers]
        found = output_factors.curvatures(layers, seen, self.watches.above)
        for stack in self.stacks:
            s, left = torch.cat([found[x.weight] for x in stack.layers]), stack.tensors["left"]
            left.copy_(output_factors.left_factor(s.to(left.dtype), self.lambda_h))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"process_group": None}  # which cannot be copied

    def forget_stacks(self) -> None:
        self.stacks.clear()
        self.watches.known.clear()
        self.watches.clear()

    def parts(self, groups: Groups) -> list[Part]:
        """Return the layers that have gradients, stack by stack."""
        found = [part_with_gradients(s, groups[s.group]["maximize"]) for s in self.stacks]
        return [part for part in found if part is not None]


def group_of(parameter: Tensor, groups: Groups) -> int:
    """Return the index of the param group that the parameter is in."""
    return next(i for i, g in enumerate(groups) if any(p is parameter for p in g["params"]))
