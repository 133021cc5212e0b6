"""What an optimizer knows of its layers: averages of Gram matrices and their inverses."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from new_algorithm.torch_optimizer import output_factors
from new_algorithm.torch_optimizer.hooks import Watches
from new_algorithm.torch_optimizer.layers import Layer
from new_algorithm.torch_optimizer.stacks import Part, Stack, part_with_gradients, stack_key
from new_algorithm.torch_optimizer.statistics import average_over_ranks

Groups = Sequence[dict[str, Any]]


class Curvature:
    """watches: the hooks. stacks: of layers that have been seen, in the order of their beginnings.

    Gram matrices are averaged every `gram_every` steps, and factored `factor_every` steps after the
    last time, sooner at the beginning and when the damping changes. remembered: what the stacks
    hold for the outer step. lambda_h: if it is finite, outputs are watched too. process_group: over
    whose ranks is averaged.
    """

    def __init__(
        self,
        *,
        rows: int,
        gram_every: int,
        factor_every: int,
        remembered: Sequence[str],
        lambda_h: float,
        process_group: Any,
    ) -> None:
        self.watches = Watches(rows, outputs=math.isfinite(lambda_h))
        self.stacks: list[Stack] = []
        self.next_factoring = 0
        self.damping = 1.0  # the factor on λ_w of the last factorisation
        self.remembered, self.lambda_h = remembered, lambda_h
        self._gram_every, self._factor_every = gram_every, factor_every
        self._process_group = process_group

    def attach(self, model: nn.Module, weights: set[Tensor], embeddings: bool) -> None:
        """Watch the layers with these weights that are not watched yet."""
        self.watches.attach(model, weights, embeddings)
        if self.watches.outputs:
            self.watches.link(output_factors.layers_above(model, self.watches.layers))

    def plan(self, iteration: int, damping: float) -> None:
        """Say whether this iteration wants Gram matrices, and with which choice of rows."""
        self.watches.seed = iteration
        is_due = self._is_factoring_due(iteration, damping)
        self.watches.gathering = iteration % self._gram_every == 0 or is_due

    def learn(self, iteration: int, damping: float, groups: Groups) -> list[str]:
        """Average what was seen; put layers seen for the first time into stacks; factor.

        Returns what is to be said of inputs that are not finite and of factors that failed.
        """
        watches, troubles = self.watches, []
        seen, outputs = watches.means(), watches.output_means()
        if self._process_group is not None:
            now = watches.gathering
            seen = average_over_ranks(
                seen, watches.gram_shapes() if now else {}, self._process_group
            )
            shapes = watches.output_shapes() if now else {}
            outputs = average_over_ranks(outputs, shapes, self._process_group)
        watches.clear()
        for weight, found in list(seen.items()):
            if not torch.isfinite(found).all():
                troubles.append(f"the input of {watches.layers[weight].name} is not finite")
                del seen[weight]
        self._begin_stacks(seen, groups)
        for stack in self.stacks:
            decay = groups[stack.group]["gram_decay"]
            for place, layer in enumerate(stack.layers):
                if layer.weight in seen:
                    stack.average("gram", place, seen[layer.weight], decay)
                if layer.weight in outputs:
                    stack.average("output_gram", place, outputs[layer.weight], decay)
        if is_due := self._is_factoring_due(iteration, damping):
            wait = min(self._factor_every, max(3, 3 * iteration))
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

    def _begin_stacks(self, seen: Iterable[Tensor], groups: Groups) -> None:
        new: dict[Any, list[Layer]] = {}
        for weight, layer in self.watches.layers.items():
            if weight in seen and weight not in self.watches.known:
                new.setdefault(stack_key(layer, group_of(weight, groups)), []).append(layer)
        for (group, *_), layers in new.items():
            self.begin_stack(layers, group)

    def begin_stack(self, layers: Sequence[Layer], group: int) -> Stack:
        """Let these layers, of equal shape, remember from now on."""
        stack = Stack(layers, group, self.remembered, self.watches.outputs)
        self.stacks.append(stack)
        self.watches.known.update(layer.weight for layer in layers)
        return stack

    def _factor_outputs(self) -> None:
        seen = {
            layer.weight: stack.state_of(place)["output_gram"]
            for stack in self.stacks
            for place, layer in enumerate(stack.layers)
        }
        layers = [layer for stack in self.stacks for layer in stack.layers]
        found = output_factors.curvatures(layers, seen, self.watches.above)
        for stack in self.stacks:
            s, left = torch.cat([found[x.weight] for x in stack.layers]), stack.tensors["left"]
            left.copy_(output_factors.left_factor(s.to(left.dtype), self.lambda_h))

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
