"""Back projection as an optimizer of PyTorch: one changed line for any model.

optimizer = BackProjection(model)  # in place of AdamW(model.parameters())
loss = criterion(model(x), y)
loss.backward()
optimizer.step()
optimizer.zero_grad()
"""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from new_algorithm.torch_optimizer.hooks import Watches
from new_algorithm.torch_optimizer.judging import (
    Judge,
    Promise,
    RandomStates,
    random_states,
    same_random_numbers,
)
from new_algorithm.torch_optimizer.layers import Layer
from new_algorithm.torch_optimizer.outer_steps import OUTER, Outer
from new_algorithm.torch_optimizer.rest import rest_step
from new_algorithm.torch_optimizer.resuming import restore, with_ours, without_ours
from new_algorithm.torch_optimizer.settings import check_group, check_model, check_settings
from new_algorithm.torch_optimizer.stacks import Part, Stack, part_with_gradients, stack_key
from new_algorithm.torch_optimizer.statistics import average_of_ranks, average_over_ranks


class BackProjection(torch.optim.Optimizer):
    """Train each layer of `model` by damped least squares on what it is given; AdamW for the rest.

    Of nn.Linear, nn.Conv1d to 3d and nn.MultiheadAttention, anywhere in the model, forward hooks
    see the inputs, and problem (P) makes of a weight's gradient its change (directions.py). AdamW
    trains all else: norms, biases alone, free parameters, and embeddings, but that with
    outer="trust" or "adam" the frequencies of tokens are an embedding's Gram matrix. `solved()`
    says what is solved. The loss should be a mean over rows.

    params: as of any optimizer; all parameters of the model by default. A group may have an lr,
    lambda_w, momentum, weight_decay, gram_decay, rest_lr, betas, eps and maximize of its own.
    lr: length of a step in units of a layer's outputs (outer_steps.py); None for the outer step's
    own. lambda_w: penalty on the change of weights, relative to the mean eigenvalue of the Gram
    matrix. gram_decay: what the average of Gram matrices keeps, every `gram_every` steps, of `rows`
    rows (of a convolution: patches) at most. factor_every: steps between two factorisations, fewer
    at the beginning. outer: see outer_steps.py. rest: modules or parameters for AdamW. rest_lr:
    AdamW's rate as a multiple of lr. weight_decay: decoupled, of matrices alone. judge_every: with
    a closure, steps between two judgements. process_group: over whose ranks Gram matrices are
    averaged; that of a DistributedDataParallel model by default.

    Memory, in floats: a layer (m, d) keeps two d × d matrices and one like its weights (two for
    "adam"), where AdamW keeps two like its weights.
    """

    _step_supports_amp_scaling = True  # GradScaler then hands over its scale, and what overflowed

    def __init__(
        self,
        model: nn.Module,
        params: Iterable[Any] | None = None,
        *,
        lr: float | None = None,
        lambda_w: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        gram_decay: float = 0.9,
        gram_every: int = 5,
        factor_every: int = 20,
        outer: Outer = "orthogonal",
        rows: int = 1024,
        rest: Iterable[nn.Module | Tensor] = (),
        rest_lr: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
        judge_every: int = 20,
        process_group: Any = None,
    ) -> None:
        check_model(model)
        check_settings(
            outer,
            gram_every=gram_every,
            factor_every=factor_every,
            rows=rows,
            judge_every=judge_every,
        )
        self.model, self.outer = model, outer
        self.gram_every, self.factor_every = gram_every, factor_every
        self._steps, self.remembered, usual_lr = OUTER[outer]
        self._excluded = set(_parameters_in(rest))
        self._process_group = process_group or getattr(model, "process_group", None)
        self.watches = Watches(rows)
        self.stacks: list[Stack] = []
        self.judge = Judge(judge_every)
        self.iteration = self.next_factoring = 0
        self._is_attached = False
        self.damping = 1.0  # the factor on λ_w of the last factorisation
        defaults = {
            "lr": usual_lr if lr is None else lr,
            "lambda_w": lambda_w,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "gram_decay": gram_decay,
            "rest_lr": rest_lr,
            "betas": betas,
            "eps": eps,
            "maximize": maximize,
        }
        super().__init__(model.parameters() if params is None else params, defaults)
        self._attach()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Also look for layers that the model did not have before."""
        super().add_param_group(param_group)
        try:
            check_group(self.param_groups[-1])
        except ValueError:
            self.param_groups.pop()
            raise
        if self._is_attached:
            self.judge.keep_new(self.param_groups[-1]["params"])
            self._attach()

    def _attach(self) -> None:
        weights = set(self.parameters()) - self._excluded
        self.watches.attach(self.model, weights, embeddings=self.outer != "orthogonal")
        self._is_attached = True  # and groups that are added from now on are looked through at once

    def solved(self) -> list[str]:
        """Return the names of the layers whose problems are solved."""
        return [layer.name for layer in self.watches.layers.values()]

    def detach(self) -> None:
        """Remove all hooks from the model."""
        self.watches.detach()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change all parameters that have gradients; return what `closure` returns.

        A closure computes the loss and its gradients; with it steps are judged, each of which costs
        one more call.
        """
        judged = closure is not None and self.iteration % self.judge.every == 0
        random = random_states() if judged else None
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if not self._unscale() or not self._gradients_are_finite():
            self.watches.clear()
            if closure is not None and self.judge.refuse():
                self._go_back(f"no step could be made {self.judge.PATIENCE} times")
                self._plan()
            return loss
        self.judge.refused = 0
        self._learn_grams()

        parts = self._parts()
        groups = [self.param_groups[part.stack.group] for part in parts]
        steps = self._steps(parts, groups, self.judge.control.bound)
        rest = self._rest_of(parts)
        promise = Promise(parts, groups, steps, rest) if judged else None
        if judged and self.judge.last_good is None:
            self.judge.keep(self.parameters())

        for part, group, step in zip(parts, groups, steps, strict=True):
            for layer, change in part.split(step):
                layer.weight.mul_(1 - group["lr"] * group["weight_decay"])
                layer.add(change, group["lr"])
        for group, parameters in zip(self.param_groups, rest, strict=True):
            rest_step(parameters, [self.state[parameter] for parameter in parameters], group)

        if closure is not None and loss is not None and random is not None and promise is not None:
            self._judge(closure, random, _number(loss), promise)
        self.iteration += 1
        self._plan()
        return loss

    def _plan(self) -> None:
        """Say whether the next step wants Gram matrices, and with which choice of rows."""
        self.watches.seed = self.iteration
        self.watches.gathering = self.iteration % self.gram_every == 0 or self._is_factoring_due()

    def _is_factoring_due(self) -> bool:
        return self.iteration >= self.next_factoring or self.judge.control.damping != self.damping

    def _unscale(self) -> bool:
        """Divide gradients by GradScaler's scale, where it leaves that to the optimizer; False if
        any of them has overflowed."""
        found, scale = getattr(self, "found_inf", None), getattr(self, "grad_scale", None)
        if found is not None and float(found) > 0:
            return False
        if scale is not None:
            for parameter in self.parameters():
                if parameter.grad is not None:
                    parameter.grad.div_(scale)
        return True

    def _gradients_are_finite(self) -> bool:
        """Whether they are; if not, warn of the first that is not."""
        given = {p: p.grad for p in self.parameters() if p.grad is not None and p.numel()}
        values = {p: g._values() if g.is_sparse else g for p, g in given.items()}
        if not given or math.isfinite(float(torch.nn.utils.get_total_norm(values.values()))):
            return True
        bad = [p for p, value in values.items() if not torch.isfinite(value).all()]
        of = f"the gradient of {self.name_of(bad[0])}" if bad else "the norm of all gradients"
        self._warn(f"{of} is not finite, and no step is made")
        return False

    def _learn_grams(self) -> None:
        """Average what was seen; put layers seen for the first time into stacks; factor."""
        watches = self.watches
        seen = {w: s.mean for w, s in watches.seen.items() if s.mean is not None}
        if self._process_group is not None:
            shapes = watches.gram_shapes() if watches.gathering else {}
            seen = average_over_ranks(seen, shapes, self._process_group)
        watches.clear()
        for weight, found in list(seen.items()):
            if not torch.isfinite(found).all():
                self._warn(f"the input of {watches.layers[weight].name} is not finite")
                del seen[weight]
        self._add_stacks(seen)
        for stack in self.stacks:
            decay = self.param_groups[stack.group]["gram_decay"]
            for place, layer in enumerate(stack.layers):
                if layer.weight in seen:
                    stack.take_gram(place, seen[layer.weight], decay)
        if due := self._is_factoring_due():
            wait = min(self.factor_every, max(3, 3 * self.iteration))
            self.next_factoring = self.iteration + wait
            self.damping = self.judge.control.damping
        for stack in self.stacks:
            if due or not stack.is_factored:
                lambda_w = self.param_groups[stack.group]["lambda_w"]
                for name in stack.factor(self.damping * lambda_w):
                    self._warn(f"the Gram matrix of {name} cannot be factored; its last one stays")

    def _add_stacks(self, seen: Iterable[Tensor]) -> None:
        new: dict[Any, list[Layer]] = {}
        for weight, layer in self.watches.layers.items():
            if weight in seen and weight not in self.watches.known:
                new.setdefault(stack_key(layer, self._group_of(weight)), []).append(layer)
        for layers in new.values():
            self.begin_stack(layers)

    def begin_stack(self, layers: Sequence[Layer]) -> Stack:
        """Let these layers, of equal shape, remember from now on; `state` has views of what."""
        stack = Stack(layers, self._group_of(layers[0].weight), self.remembered)
        self.stacks.append(stack)
        self.watches.known.update(layer.weight for layer in layers)
        self._show_state(stack)
        return stack

    def forget_stacks(self) -> None:
        self.stacks.clear()
        self.watches.known.clear()
        self.watches.clear()

    def _show_state(self, stack: Stack) -> None:
        number = self.stacks.index(stack)
        for place, layer in enumerate(stack.layers):
            self.state[layer.weight].update(stack.state_of(place), stack=number, place=place)

    def _group_of(self, parameter: Tensor) -> int:
        groups = enumerate(self.param_groups)
        return next(i for i, group in groups if any(p is parameter for p in group["params"]))

    def _parts(self) -> list[Part]:
        """Return the layers that have gradients, stack by stack."""
        found = [
            part_with_gradients(stack, self.param_groups[stack.group]["maximize"])
            for stack in self.stacks
        ]
        return [part for part in found if part is not None]

    def _rest_of(self, parts: Sequence[Part]) -> list[list[Tensor]]:
        """Return, group by group, the parameters with gradients in none of these layers."""
        layers = [layer for part in parts for layer in part.layers]
        solved = {layer.weight for layer in layers} | {layer.bias for layer in layers}
        return [
            [p for p in group["params"] if p.grad is not None and p.numel() and p not in solved]
            for group in self.param_groups
        ]

    def _judge(
        self, closure: Callable[[], Any], random: RandomStates, before: float, promise: Promise
    ) -> None:
        """Compare the loss after a step with that before; undo a step that did harm."""
        group = self.param_groups[0]
        sign = -1.0 if group["maximize"] else 1.0
        predicted = promise.decrease(group["maximize"])
        with torch.enable_grad(), same_random_numbers(random), self.watches.blind():
            after = _number(closure())
        before, after = average_of_ranks([before, after], self._process_group)
        scale = min(1.0, group["lr"] / group["initial_lr"]) if group.get("initial_lr") else 1.0
        if self.judge.control.judge(predicted, sign * before, sign * after, scale):
            self.judge.keep(self.parameters())
            return
        self._go_back(f"the loss went from {before:.4g} to {after:.4g}")

    def _go_back(self, reason: str) -> None:
        self._warn(f"{reason}: back to the last good weights")
        self.judge.go_back(self.parameters())
        for stack in self.stacks:
            stack.forget()
        for state in self.state.values():
            for name in ("exp_avg", "exp_avg_sq", "step"):
                if name in state:
                    state[name].zero_()

    def parameters(self) -> Iterator[Tensor]:
        """Yield all parameters, group by group."""
        for group in self.param_groups:
            yield from group["params"]

    def name_of(self, parameter: Tensor) -> str:
        named = self.model.named_parameters()
        return next((name for name, p in named if p is parameter), "a parameter")

    def _warn(self, text: str) -> None:
        warnings.warn(f"step {self.iteration}: {text}", RuntimeWarning, stacklevel=4)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that later steps depend on, loadable with weights_only=True."""
        return with_ours(self, super().state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the optimizer was that gave this state, to the bit. ValueError for another
        model's or another class's, and nothing has changed."""
        super().load_state_dict(without_ours(self, state_dict))
        restore(self, state_dict)
        self._plan()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "step"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for stack in state.get("stacks", ()):
            self._show_state(stack)  # copies of views share no memory with copies of what they show


def _number(loss: Any) -> float:
    return float(loss.detach() if isinstance(loss, Tensor) else loss)


def _parameters_in(rest: Iterable[nn.Module | Tensor]) -> Iterator[Tensor]:
    for one in rest:
        if isinstance(one, nn.Module):
            yield from one.parameters()
        else:
            yield one
