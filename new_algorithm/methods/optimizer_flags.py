"""The flags by which a script chooses an optimizer of PyTorch, and its settings."""

from dataclasses import dataclass
from typing import Annotated, Literal

from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import (
    Fraction,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    default_as,
)
from new_algorithm.methods.method import Method, Settings
from new_algorithm.methods.registry import METHODS

OPTIMIZERS = {
    "back-projection": "back_projection_torch",
    "adamw": "adamw",
    "momentum": "momentum",
    "soap": "soap",
    "shampoo": "shampoo",
    "muon": "muon",
}

AS_USUAL = default_as("the optimizer's")


@dataclass(frozen=True, kw_only=True)
class OptimizerFlags:
    """`class Config(OptimizerFlags, TorchFlags)`: settings that are not given are the method's."""

    optimizer: Literal["back-projection", "adamw", "momentum", "soap", "shampoo", "muon"] = (
        "back-projection"
    )
    """Back projection as torch.optim has optimizers, or what it is compared with."""
    lr: Annotated[PositiveFloat | None, AS_USUAL] = None
    """The highest learning rate."""
    lambda_w: Annotated[PositiveFloat | None, AS_USUAL] = None
    """Back projection's penalty on weight changes, per mean eigenvalue of the Gram matrix."""
    momentum: Annotated[Fraction | None, AS_USUAL] = None
    """What the average of gradients keeps at each step; of AdamW and SOAP, β₁."""
    outer: Annotated[Literal["trust", "orthogonal", "adam"] | None, AS_USUAL] = None
    """Back projection's way from least-squares changes to steps."""
    head: Annotated[Literal["solved", "rest"] | None, AS_USUAL] = None
    """Whether back projection solves the last layer too, or leaves it to AdamW."""
    adam_lr: Annotated[PositiveFloat | None, AS_USUAL] = None
    """Muon's rate for all that it leaves to Adam."""
    largest_side: Annotated[PositiveInt | None, AS_USUAL] = None
    """The longest side of a matrix that SOAP preconditions."""
    weight_decay: Annotated[NonNegativeFloat | None, AS_USUAL] = None
    """Weight decay, decoupled but of SGD with momentum. Shampoo has none."""

    @property
    def method(self) -> Method:
        return METHODS[OPTIMIZERS[self.optimizer]]

    @property
    def settings(self) -> Settings:
        """The optimizer's own, but for those given. UserError for one that it does not have."""
        names = ["lr", "lambda_w", "momentum", "outer", "head", "adam_lr", "largest_side"]
        names += ["weight_decay"]
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        for name in given.keys() - self.method.defaults.keys():
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"{flag} is no setting of {self.optimizer}: leave it out")
        return self.method.defaults | given
