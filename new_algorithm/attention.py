"""Transformers whose attention works at one scale, at several, or on levels with a router.

    python new_algorithm/attention.py                                 # tiny Shakespeare, minutes
    python new_algorithm/attention.py --architecture hierarchical --router gumbel
    python new_algorithm/attention.py --task mnist1d --width 64 --epochs 20 --parts 1
    python new_algorithm/attention.py --task copies --context 32      # drawn at random, no file

Tasks: the next character of tiny Shakespeare, or the next symbol of sequences that repeat
themselves (`copies`), for which nothing sees what is to come; and the class of MNIST-1D's series of
40 points. Architectures, all of pre-norm blocks behind sinusoidal places:

    plain               every place looks at every one before it
    convolved-scales    a convolution and queries, keys and values of its own at each scale
    pooled-scales       keys and values averaged over 1, 4 and 16 places
    joint-scales        the same, with one softmax over all scales in place of a learnt mixture
    hierarchical        blocks on levels of 1, 4 and 16 tokens; a router gives every token a level

Rates go up over 30% of the steps and down to nearly zero, so that a run is as long as it says from
the start. Loss in nats; bits are those of a prediction, of a character for text, and early places
of a piece, which see little, count as well. Evaluation is outside the clock.

Writes ploting_data/TAG/, figures/TAG/ with bits and the shares of scales, and _logs/. Tune with
--held-out validation.
"""

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from datasets import Dataset
from datasets.characters import load_characters
from new_algorithm.back_projection.network import weight_norms
from new_algorithm.cli.console import run_main
from new_algorithm.cli.device import torch_device
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import (
    Limit,
    NonNegativeInt,
    PositiveInt,
    TorchFlags,
    default_as,
    parse,
)
from new_algorithm.cli.threads import fix_threads
from new_algorithm.gallery.attention.shape import SCALES, Architecture, Routing, Shape
from new_algorithm.gallery.attention.tasks import POINTS, Task, sequence_model
from new_algorithm.methods.method import Problem
from new_algorithm.methods.optimizer_flags import OptimizerFlags
from new_algorithm.models.model import Model
from new_algorithm.profiling.session import profiled
from new_algorithm.record.files import Row
from new_algorithm.record.reservation import check_tag
from new_algorithm.record.run import Run

if TYPE_CHECKING:
    from new_algorithm.gallery.attention.transformer import Transformer

BIT = math.log(2)  # in nats
LOOKED_AT = 64  # sequences by which shares of scales are measured


@dataclass(frozen=True, kw_only=True)
class Config(OptimizerFlags, TorchFlags):
    task: Task = "shakespeare"
    """Sequences to learn."""
    architecture: Architecture = "pooled-scales"
    """How places look at each other."""
    scales: Annotated[tuple[PositiveInt, ...] | None, default_as("1 4 16")] = None
    """Places in a pool of each scale, or in a convolution; tokens in a place of each level."""
    router: Annotated[Routing | None, default_as("soft")] = None
    """How a hierarchy's router chooses; fixed is equal shares."""
    width: PositiveInt = 128
    """Numbers at every place."""
    layers: PositiveInt = 2
    """Blocks, or hierarchies of blocks."""
    heads: PositiveInt = 4
    """Heads of attention."""
    context: PositiveInt = 64
    """Places of a sequence; of MNIST-1D there are 40."""
    batch_size: PositiveInt = 32
    """Sequences in a mini-batch."""
    parts: PositiveInt = 5
    """Parts of a pass over the training set; after each of them there is an evaluation."""
    epochs: PositiveInt = 10
    """How many such parts to train for."""
    train_limit: Limit = None
    """Use the first N training sequences only."""
    sample: NonNegativeInt = 0
    """Of text: print so many characters that the trained model makes up."""

    @property
    def length(self) -> int:
        return POINTS if self.task == "mnist1d" else self.context

    @property
    def shape(self) -> Shape:
        """UserError if there is no such transformer, or a flag is for another one."""
        if self.scales is not None and self.architecture == "plain":
            raise UserError("--scales: a plain transformer has one; choose another --architecture")
        if self.router is not None and self.architecture != "hierarchical":
            raise UserError("--router: only --architecture hierarchical has one")
        if self.sample and self.task != "shakespeare":
            raise UserError("--sample is of characters: leave it out, or --task shakespeare")
        size = self.width, self.layers, self.heads
        shape = Shape(self.architecture, *size, self.scales or SCALES, self.router or "soft")
        shape.check(self.length)
        return shape


def main() -> None:
    config = parse(Config, __doc__)
    shape, settings = config.shape, config.settings
    check_tag(config.tag, config.overwrite)
    fix_threads(config.threads)
    torch_device(config.device)  # whether it is there
    model = sequence_model(config.task, shape, config.length, config.batch_size, config.seed)
    data = model.load(config.held_out, config.train_limit, config.data_dir)
    if config.batch_size > (rows := len(data.x_train)):
        raise UserError(
            f"--batch-size {config.batch_size} is more than the {rows} training sequences: "
            f"give at most {rows}"
        )

    from new_algorithm.gallery.attention.figures import TABLES

    problem, networks = watched_problem(config, model, data)
    passes = problem.passes(config.batch_size)
    bits: list[Row] = []
    shares: list[Row] = []
    about = data.provenance()
    with (
        Run.open(script=Path(__file__), config=config, data=about, tables=TABLES) as run,
        profiled(config.profile, "PyTorch", run, config.device),
    ):
        try:
            for epoch in config.method.train(problem, settings):
                steps, seconds = passes.steps(epoch.number), epoch.clock.cpu_seconds
                train, held_out = epoch.scores()
                in_bits = {"train_bits": train.loss / BIT, "held_out_bits": held_out.loss / BIT}
                epoch.save(run)
                run.record_epoch(
                    epoch.number,
                    train=train,
                    held_out=held_out,
                    layer_norms=weight_norms(epoch.weights),
                    clock=epoch.clock,
                    steps=steps,
                    **({} if config.task == "mnist1d" else per_character(config, held_out.loss)),
                )
                bits.append({"steps": steps, "cpu_seconds": seconds} | in_bits)
                shares += [{"steps": steps} | row for row in share_rows(networks[0], shape, data)]
        finally:  # of what came before a divergence too
            leave_tables(run, bits, shares)
        run.result(parameters=sum(p.numel() for p in networks[0].parameters()))
        if config.sample:
            print(f"\n{made_up(networks[0], config)}", flush=True)


def leave_tables(run: Run, bits: list[Row], shares: list[Row]) -> None:
    if bits:
        run.table("bits", bits, "Bits a prediction")
    if shares:
        run.table("scale_shares", shares, "Share of each scale, layer by layer")


def watched_problem(
    config: Config, model: Model, data: Dataset
) -> "tuple[Problem, list[Transformer]]":
    """Return the problem, and a list that will hold the network while it is trained."""
    networks: list[Transformer] = []

    def build(data: Dataset) -> "Transformer":
        networks.append(model.build(data))  # type: ignore[arg-type]
        return networks[0]

    problem = Problem(
        data,
        (),
        config.epochs,
        config.seed,
        config.threads,
        model=replace(model, build=build),
        parts=config.parts,
        device=config.device,
    )
    return problem, networks


def per_character(config: Config, held_out_loss: float) -> dict[str, float]:
    return {f"{config.held_out}_bits_per_character": held_out_loss / BIT}


def share_rows(network: "Transformer", shape: Shape, data: Dataset) -> list[Row]:
    """Return the shares of scales on a few held-out sequences, a row a layer."""
    from new_algorithm.gallery.attention.transformer import mean_shares

    return [
        {"layer": layer}
        | {f"scale_{s}": share for s, share in zip(shape.scales, shares, strict=True)}
        for layer, shares in enumerate(mean_shares(network, data.x_test[:LOOKED_AT]), start=1)
    ]


def made_up(network: "Transformer", config: Config) -> str:
    """Return text that the network makes up."""
    import torch

    from new_algorithm.gallery.attention.transformer import generate

    text = load_characters(config.data_dir)
    chance = torch.Generator().manual_seed(config.seed)
    start = [text.alphabet.index("\n")]
    return text.text_of(generate(network, start, config.sample, chance))


if __name__ == "__main__":
    run_main(main)
