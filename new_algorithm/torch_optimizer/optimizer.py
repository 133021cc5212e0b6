"""Back projection as an optimizer of PyTorch: one changed line for any model.

optimizer = BackProjection(model)  # in place of AdamW(model.parameters())
loss = criterion(model(x), y)
loss.backward()
optimizer.step()
optimizer.zero_grad()
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from new_algorithm.torch_optimizer.curvature import Curvature
from new_algorithm.torch_optimizer.gradients import obstacle_to_step
from new_algorithm.torch_optimizer.judging import Judge, Promise, Trial, value_of
from new_algorithm.torch_optimizer.outer_steps import OUTER, Outer
from new_algorithm.torch_optimizer.rest import forget, rest_step
from new_algorithm.torch_optimizer.resuming import restore, with_ours, without_ours
from new_algorithm.torch_optimizer.settings import (
    check_group,
    check_model,
    check_settings,
    parameters_for_adamw,
    process_group_of,
    warn,
)
from new_algorithm.torch_optimizer.stacks import Part
from new_algorithm.torch_optimizer.statistics import average_of_ranks


class BackProjection(torch.optim.Optimizer):
    """Train each layer of `model` by damped least squares on what it is given; AdamW for the rest.

    Of nn.Linear, nn.Conv1d to 3d and nn.MultiheadAttention, anywhere in the model, forward hooks
    see the inputs, and problem (P) makes of a weight's gradient its change (directions.py). AdamW
    trains all else: norms, biases alone, free parameters, and embeddings, but that with
    outer="trust" or "adam" the frequencies of tokens are an embedding's Gram matrix. `solved()`
    says what is solved. The loss should be a mean over rows.

    params: as of any optimizer; all parameters of the model by default. A group may have an lr,
    lambda_w, momentum, weight_decay, gram_decay, rest_lr, betas, eps and maximize of its own. A
    bias moves with its weights, but in a group with another lr, lambda_w, momentum, gram_decay or
    maximize by AdamW.
    lr: length of a step in units of a layer's outputs (outer_steps.py); None for the outer step's
    own. lambda_w: penalty on the change of weights, relative to the mean eigenvalue of the Gram
    matrix. lambda_h: penalty on the change of what lies below, relative too (output_factors.py),
    of linear layers and convolutions; for outer="trust" and "adam". momentum: not that which
    schedules cycle, which is AdamW's. weight_decay: of matrices alone; as with AdamW weights shrink
    by lr · weight_decay a step, so that with lr .08 a usual .01 is much, and sparse ones never.
    gram_decay: what the average of Gram matrices keeps, every `gram_every` steps, of `rows` rows
    (of a convolution: patches) at most. factor_every: steps between two factorisations, fewer at
    the beginning. outer: see outer_steps.py. widest: layers with more inputs, whose Gram matrix
    would be larger, are left to AdamW, and named. rest: modules or parameters for AdamW; with
    outer="orthogonal" the head of a language model is better there, other heads are not. rest_lr:
    AdamW's rate as a multiple of lr. judge_every: with a closure, steps between two judgements,
    which call it once more, for the same batch. process_group: over whose ranks Gram matrices are
    averaged; by default that of the DistributedDataParallel model that is given.

    What a forward pass shows counts when its gradient arrives: passes of evaluation do not, those
    whose gradients are for something else, as for adversarial inputs, do. Compile the model after
    the optimizer is made, without fullgraph: each layer ends a graph. `detach()` removes the hooks,
    as torch.jit.script wants it. torch.distributed.checkpoint does not save all of the state.

    Memory, in floats: a block (m, d) of a layer keeps two d × d matrices and one like its weights
    (two for "adam"), with a finite λ_h also two m × m, all in float32 at least; AdamW keeps two
    like its weights. Judged steps keep a copy of all weights. `measure.py optimizers` measures
    memory and time by kind of layer.
    """

    _step_supports_amp_scaling = True  # GradScaler then hands over its scale, and what overflowed

    def __init__(
        self,
        model: nn.Module,
        params: Iterable[Any] | None = None,
        *,
        lr: float | None = None,
        lambda_w: float = 8.0,
        lambda_h: float = math.inf,
        momentum: float = 0.8,
        weight_decay: float = 0.0,
        gram_decay: float = 0.9,
        gram_every: int = 5,
        factor_every: int = 20,
        outer: Outer = "orthogonal",
        rows: int = 512,
        widest: int = 4096,
        rest: nn.Module | Tensor | Iterable[nn.Module | Tensor] = (),
        rest_lr: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
        judge_every: int = 20,
        process_group: Any = None,
    ) -> None:
        check_model(model)
        counts = {"gram_every": gram_every, "factor_every": factor_every, "rows": rows}
        check_settings(outer, lambda_h, counts | {"widest": widest, "judge_every": judge_every})
        self.model, self.outer = model, outer
        self._steps, remembered, usual_lr = OUTER[outer]
        self._excluded = parameters_for_adamw(model, rest)
        self.curvature = Curvature(
            rows=rows,
            widest=widest,
            gram_every=gram_every,
            factor_every=factor_every,
            remembered=remembered,
            lambda_h=lambda_h,
            process_group=process_group or process_group_of(model),
        )
        self.judge = Judge(judge_every)
        self.iteration = 0
        self._is_attached = False
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
        groups = {
            parameter: group
            for group in self.param_groups
            for parameter in group["params"]
            if parameter not in self._excluded
        }
        self.curvature.attach(self.model, groups, embeddings=self.outer != "orthogonal")
        self._is_attached = True  # and groups that are added from now on are looked through at once

    def solved(self) -> list[str]:
        """Return the names of the layers whose problems are solved."""
        watches, unseen = self.curvature.watches, self.curvature.unseen
        return [
            layer.name
            for weight, layer in watches.layers.items()
            if weight not in unseen and not watches.is_too_wide(layer)
        ]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Also forget what layers have shown beside the gradients that are lost."""
        super().zero_grad(set_to_none)
        self.curvature.watches.clear()

    def detach(self) -> None:
        """Remove all hooks from the model."""
        self.curvature.watches.detach()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change all parameters that have gradients; return what `closure` returns.

        A closure computes the loss and its gradients; with it steps are judged, each of which costs
        one more call.
        """
        is_due = self.iteration % self.judge.every == 0
        trial = None if closure is None else Trial(closure, is_due)
        loss = None if trial is None else trial.loss
        if (obstacle := obstacle_to_step(self)) is not None:
            if obstacle:
                self._warn(obstacle)
            self.curvature.watches.clear()
            if trial is not None and self.judge.refuse():
                self._go_back(f"no step could be made {self.judge.PATIENCE} times")
                self._plan()
            return loss
        self.judge.refused = 0
        for trouble in self.curvature.learn(
            self.iteration, self.judge.control.damping, self.param_groups
        ):
            self._warn(trouble)
        self._show_state()

        parts = self.curvature.parts(self.param_groups)
        groups = [self.param_groups[part.stack.group] for part in parts]
        steps = self._steps(parts, groups, self.judge.control.bound)
        rest = self._rest_of(parts)
        promise = None
        if trial is not None and trial.is_judged and loss is not None:
            promise = Promise(parts, groups, steps, rest)
            if self.judge.last_good is None:
                self.judge.keep(self.parameters(), self.model.named_buffers())

        for part, group, step in zip(parts, groups, steps, strict=True):
            for layer, change in part.split(step):
                if group["weight_decay"] > 0:
                    layer.weight.mul_(1 - group["lr"] * group["weight_decay"])
                layer.add(change, group["lr"])
        for group, parameters in zip(self.param_groups, rest, strict=True):
            rest_step(parameters, [self.state[parameter] for parameter in parameters], group)

        if trial is not None and promise is not None:
            self._judge(trial, promise)
        self.iteration += 1
        self._plan()
        return loss

    def _plan(self) -> None:
        self.curvature.plan(self.iteration, self.judge.control.damping)

    def _show_state(self) -> None:
        """Let `state` have views of what layers remember, where it has not."""
        for number, stack in enumerate(self.curvature.stacks):
            for place, layer in enumerate(stack.layers):
                if self.state[layer.weight].get("stack") is None:
                    self.state[layer.weight].update(
                        stack.state_of(place), stack=number, place=place
                    )

    def _rest_of(self, parts: Sequence[Part]) -> list[list[Tensor]]:
        """Return, group by group, the parameters with gradients in none of these layers."""
        layers = [layer for part in parts for layer in part.layers]
        solved = {layer.weight for layer in layers} | {layer.bias for layer in layers}
        return [
            [p for p in group["params"] if p.grad is not None and p.numel() and p not in solved]
            for group in self.param_groups
        ]

    def _judge(self, trial: Trial, promise: Promise) -> None:
        """Compare the loss after a step with that before; undo a step that did harm."""
        predicted = promise.decrease(self.param_groups[0]["maximize"])
        before = value_of(trial.loss)
        with self.curvature.watches.blind():
            after = trial.again(self.model)
        before, after = average_of_ranks([before, after], self.curvature.process_group)
        if self.judge.accepts(predicted, before, after, self.param_groups[0]):
            self.judge.keep(self.parameters(), self.model.named_buffers())
            return
        self._go_back(f"the loss went from {before:.4g} to {after:.4g}")

    def _go_back(self, reason: str) -> None:
        self._warn(f"{reason}: back to the last good weights")
        self.judge.go_back(self.parameters(), self.model.named_buffers())
        for stack in self.curvature.stacks:
            stack.forget()
        forget(self.state.values())

    def parameters(self) -> Iterator[Tensor]:
        """Yield all parameters, group by group."""
        for group in self.param_groups:
            yield from group["params"]

    def name_of(self, parameter: Tensor) -> str:
        named = self.model.named_parameters()
        return next((name for name, p in named if p is parameter), "a parameter")

    def _warn(self, text: str) -> None:
        warn(f"step {self.iteration}: {text}")

    def state_dict(self) -> dict[str, Any]:
        """Return everything that later steps depend on, loadable with weights_only=True."""
        return with_ours(self, super().state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the optimizer was that gave this state, to the bit. ValueError for another
        model's or another class's, and nothing has changed."""
        super().load_state_dict(without_ours(self, state_dict))
        restore(self, state_dict)
        self._show_state()
        self._plan()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out torch's hooks on optimizers, as torch does, which may not be copied."""
        return {n: x for n, x in self.__dict__.items() if n != "step" and n[:11] != "_optimizer_"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "curvature" in state:
            self.curvature.process_group = process_group_of(self.model)
            # copies of views share no memory with copies of what they show
            for values in self.state.values():
                values.pop("stack", None)
            self._show_state()
