"""Look at a model in PyTorch and at how it is trained, and say what is known to go wrong.

    python new_algorithm/advise_model.py FILE.py:MODEL --input-shape 32 3 32 32
    python new_algorithm/advise_model.py FILE.py:MODEL --batch FILE.npz --loss CrossEntropyLoss
    python new_algorithm/advise_model.py FILE.py:MODEL --batch FILE.npz --recommend

MODEL is an nn.Module, its class, or a function that returns one without arguments. FILE.py is
imported, which runs it. A copy of the model runs on one batch, and what acts on it is seen: layers
and functions, in their order. Looked at are losses and what they are given, gradients, the
optimizer's groups, modes, the inputs' scale, and the order of layers. A loss opens most rules, a
batch of your own with targets the rest; numbers drawn at random say nothing of your data's scale.

It advises, and exits with 0 whatever it has found. Each suggestion says where, what was seen, why
that is wrong, what to write instead, and who found out. In your own training script:

    from new_algorithm.model_advice import advise

    for one in advise(model, x, y, loss=loss, optimizer=optimizer, clip_norm=1.0):
        print(one)

Prints, and writes a file with --output alone.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from new_algorithm.cli.console import run_main
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import (
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Seed,
    default_as,
    parse,
)
from new_algorithm.cli.threads import fix_threads

if TYPE_CHECKING:
    from new_algorithm.model_advice.examined import Examined


@dataclass(frozen=True, kw_only=True)
class Config:
    of: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE.py:MODEL")]
    """The model: a file of Python, and a name in it."""
    input_shape: Annotated[tuple[PositiveInt, ...], default_as("none", metavar="N")] = ()
    """Shape of a batch that is drawn from a standard normal distribution, rows first."""
    tokens: Annotated[PositiveInt | None, default_as("none", metavar="N")] = None
    """Draw whole numbers below N instead, for a model that begins with an embedding."""
    batch: Annotated[Path | None, default_as("none", metavar="FILE.npz")] = None
    """A batch of your own: arrays x, as the model is given it, and y."""
    task: Annotated[
        Literal["classification", "segmentation", "detection", "regression"] | None,
        default_as("as the targets tell"),
    ] = None
    """What the model is for."""
    loss: Annotated[str | None, default_as("none", metavar="NAME")] = None
    """Of torch.nn or torch.nn.functional, or, as outputs in a dict or tuple need, FILE.py:LOSS;
    called as loss(output, y)."""
    optimizer: Annotated[str | None, default_as("none", metavar="NAME")] = None
    """Of torch.optim, with all parameters in one group."""
    weight_decay: Annotated[NonNegativeFloat | None, default_as("the optimizer's", metavar="X")] = (
        None
    )
    """The optimizer's weight decay."""
    clip_norm: Annotated[PositiveFloat | None, default_as("none", metavar="X")] = None
    """The norm at which you clip gradients."""
    mean: Annotated[tuple[float, ...], default_as("none", metavar="X")] = ()
    """Means that x has been normalised with, one a channel."""
    std: Annotated[tuple[PositiveFloat, ...], default_as("none", metavar="X")] = ()
    """Standard deviations that x has been normalised with."""
    weights: Annotated[str | None, default_as("none", metavar="NAME")] = None
    """Pretrained weights of torchvision that the model begins with: ResNet18_Weights.DEFAULT, …"""
    evaluate: bool = False
    """Look at a model that is to be evaluated, not trained."""
    recommend: bool = False
    """Print what to begin with for the task: architectures, losses, augmentations."""
    seed: Seed = 0
    """Seed of the model's weights and of what is drawn."""
    output: Annotated[Path | None, default_as("none", metavar="FILE.md")] = None
    """Write the advice to this file too."""


def main() -> None:
    config = parse(Config, __doc__)
    if bool(config.input_shape) == bool(config.batch):
        raise UserError("give either --input-shape, as in --input-shape 32 3 32 32, or --batch")
    if config.weight_decay is not None and config.optimizer is None:
        raise UserError("--weight-decay is the optimizer's: give --optimizer too")
    if len(config.mean) != len(config.std):
        raise UserError(f"--mean has {len(config.mean)} values, --std {len(config.std)}: give both")
    fix_threads(1)
    from new_algorithm.model_advice.advise import advice_on

    seen = examined(config)
    text = advice_text(config.of, advice_on(seen))
    if config.recommend:
        from new_algorithm.model_advice.recommendations import recommendations_text

        if seen.task is None:
            raise UserError("--recommend needs a task: give --task, or targets that tell")
        text += "\n\n" + recommendations_text(seen.task)
    print(text, flush=True)
    if config.output is not None:
        write(config.output, text)


def examined(config: Config) -> "Examined":
    """What one batch shows of the model that the flags name. UserError where it does not run."""
    import torch

    from new_algorithm.model_advice.examined import Settings, examine, one_line
    from new_algorithm.model_advice.named import (
        draw_batch,
        loss_named,
        optimizer_named,
        read_batch,
        weights_named,
    )
    from new_algorithm.model_advice.own_code import load_model, place_of

    torch.manual_seed(config.seed)
    model = load_model(config.of)
    if config.evaluate:
        model.eval()
    x, y = (
        read_batch(config.batch)
        if config.batch
        else (draw_batch(config.input_shape, config.tokens), None)
    )
    settings = Settings(
        loss=loss_named(config.loss) if config.loss else None,
        optimizer=config.optimizer
        and optimizer_named(config.optimizer, model, config.weight_decay),
        task=config.task,
        clip_norm=config.clip_norm,
        normalisation=(config.mean, config.std) if config.mean else None,
        weights=config.weights and weights_named(config.weights),
        training=not config.evaluate,
    )
    seen = examine(model, x, y, settings)
    if seen.failure is not None:
        place = place_of(seen.failure, Path(config.of.rpartition(":")[0]))
        shape = " × ".join(map(str, x.shape))
        raise UserError(
            f"{place}: the model fails on a batch of shape {shape}: {one_line(seen.failure)}"
        ) from seen.failure
    return seen


def advice_text(name: str, advice: list) -> str:
    """The suggestions with numbers, the worst first, then the notes."""
    from new_algorithm.model_advice.suggestion import Suggestion

    suggestions = [one for one in advice if isinstance(one, Suggestion)]
    notes = [str(one) for one in advice if not isinstance(one, Suggestion)]
    title = f"Nothing to suggest{', as far as was seen:' if notes else '.'}"
    if suggestions:
        title = f"{name}: {len(suggestions)} to reconsider"
    numbered = [f"{number}. {one}" for number, one in enumerate(suggestions, 1)]
    return "\n\n".join((title, *numbered, *notes))


def write(path: Path, text: str) -> None:
    from new_algorithm.record.files import save_text

    try:
        save_text(path, f"```\n{text}\n```\n")
    except OSError as error:
        raise UserError(f"--output {path} cannot be written: {error.strerror}") from error


if __name__ == "__main__":
    run_main(main)
