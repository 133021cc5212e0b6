"""Search for a cell by gradients (DARTS), train it, and see whether a random cell does worse.

A mixture of ten operations on every edge of a normal and of a reduction cell is trained on one half
of the training rows, and the shares of the operations, the softmax of α, on the other half. The
strongest ones make a cell, which is trained from scratch on all training rows; beside it a random
cell with as many parameters, from the same seed.

    python new_algorithm/architecture_search.py                       # MNIST, small, minutes
    python new_algorithm/architecture_search.py --hypergradient implicit --damping 40  # 20 minutes
    python new_algorithm/architecture_search.py --repeats 10          # with paired statistics
    python new_algorithm/architecture_search.py --dataset cifar10 --nodes 4 --channels 8 \\
        --train-limit 50000 --test-limit 10000 --batch-size 128 --device cuda --tag search_0

The gradient with respect to α is first-order, second-order (through one step of the weights, as in
the paper) or implicit: through a minimum near the weights, by conjugate gradients. Implicit ones of
which a condition fails, such as positive curvature, give way to second order, and are counted. Each
takes 8 to 10 CPU seconds: a search with the defaults has 124 of them, some 20 minutes.
Pairs of several runs, say one a seed side by side, are put together by their tags:

    python new_algorithm/architecture_search.py --gather search_0 search_1 search_2 --tag verdict

Epochs and weights are the first derived network's, a profile is the first search's. Writes cells,
alphas, search, retraining and derived_against_random, .csv, too.
"""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import tyro

from new_algorithm.cli.console import run_main
from new_algorithm.cli.device import torch_device
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import (
    Limit,
    PositiveFloat,
    PositiveInt,
    Rule,
    TorchFlags,
    default_as,
    parse,
)
from new_algorithm.cli.progress import progress
from new_algorithm.cli.threads import fix_threads
from new_algorithm.methods.torch_network import arrays_of
from new_algorithm.profiling.session import profiled
from new_algorithm.record.clock import TrainingClock
from new_algorithm.record.files import Row, save_csv
from new_algorithm.record.layout import Layout
from new_algorithm.record.reservation import check_tag
from new_algorithm.record.run import Run

if TYPE_CHECKING:
    import torch

    from datasets import Dataset
    from new_algorithm.gallery.architecture_search.cells import Network
    from new_algorithm.gallery.architecture_search.genotypes import Genotype

PAIRS = "derived_against_random"
CELLS = ("derived", "random")
SAME_SIZE = 0.1  # parameters of a random network may be off by this share of the derived one's
DAMPING = 40.0
SCORED_ROWS = 2_000  # of the training rows, the first, whose loss is the train loss
MAY_DIFFER = ("seed", "tag", "overwrite", "threads", "data_dir", "repeats", "gather")  # if gathered


@dataclass(frozen=True, kw_only=True)
class Config(TorchFlags):
    dataset: Literal["mnist", "cifar10", "strokes"] = "mnist"
    """Images: MNIST, CIFAR-10 (or its sample), or invented ones where neither is at hand."""
    train_limit: Limit = 2_000
    """Use the first N training samples only; more than there are means all."""
    test_limit: Limit = 2_000
    """Use the first N held-out samples only, likewise."""
    nodes: PositiveInt = 3
    """Inner nodes of a cell; 4 in the paper."""
    cells: Annotated[int, Rule("at least 3, so that both kinds are there", lambda v: v >= 3)] = 3
    """Cells of a network; those a third and two thirds of the way up are reductions."""
    channels: Annotated[int, Rule("a whole number of at least 2", lambda v: v >= 2)] = 4
    """Channels of a node in the first cell; twice as many after each reduction."""
    hypergradient: Literal["first-order", "second-order", "implicit"] = "second-order"
    """How the loss on the other half tells α how to change; see above."""
    damping: Annotated[PositiveFloat | None, default_as(f"{DAMPING:g}")] = None
    """Of implicit: ρ of the minimum of L_train + ρ/2 |w - w_now|²; 1/ρ is a length of steps."""
    search_epochs: PositiveInt = 4
    """Passes over each half in the search."""
    epochs: PositiveInt = 10
    """Passes over the training rows in training a cell from scratch."""
    batch_size: PositiveInt = 32
    """Rows of a batch."""
    alpha_lr: PositiveFloat = 0.01
    """Adam's step of α; the paper's 3e-4 is for 50 epochs of CIFAR-10."""
    lr: PositiveFloat = 0.05
    """The first learning rate of training from scratch, then down along a cosine."""
    repeats: PositiveInt = 1
    """Pairs of a derived and a random cell, with the seeds from --seed on."""
    gather: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TAG ...")] = ()
    """Train nothing: put together the pairs of these runs."""

    @property
    def settings(self) -> dict[str, float]:
        """Of implicit hypergradients, what is in force."""
        return {"damping": self.damping or DAMPING}


def main() -> None:
    config = parse(Config, __doc__)
    if config.damping is not None and config.hypergradient != "implicit":
        raise UserError(f"--damping: {config.hypergradient} has none: leave it out")
    check_tag(config.tag, config.overwrite)
    if config.gather:
        gather(config)
        return
    fix_threads(config.threads)
    device = torch_device(config.device)
    from new_algorithm.experiments.pairs import record_pairs
    from new_algorithm.gallery.architecture_search.figures import TABLES
    from new_algorithm.gallery.architecture_search.images import load_images
    from new_algorithm.gallery.architecture_search.rows import check_halves

    limits = config.train_limit, config.test_limit
    data = load_images(config.dataset, config.held_out, *limits, config.data_dir)
    check_halves(len(data.x_train), config.batch_size)
    with Run.open(
        script=Path(__file__), config=config, data=data.provenance(), tables=TABLES
    ) as run:
        laboratory = Laboratory(config, data, device, run)
        with profiled(config.profile, "PyTorch", run, config.device):
            pairs = [laboratory.pair(config.seed + i) for i in range(config.repeats)]
        record_pairs(pairs, CELLS, PAIRS, run)


class Laboratory:
    """Searches and trains, seed by seed, and records all of it."""

    def __init__(self, config: Config, data: "Dataset", device: "torch.device", run: Run) -> None:
        import torch

        from new_algorithm.gallery.architecture_search.cells import Plan
        from new_algorithm.gallery.architecture_search.images import shift_and_mirror
        from new_algorithm.gallery.architecture_search.rows import Rows

        torch.set_num_threads(config.threads)
        self.config, self.device, self.run = config, device, run
        self.train = Rows.of(data.x_train, data.y_train, device)
        self.scored = Rows(self.train.x[:SCORED_ROWS], self.train.y[:SCORED_ROWS])
        self.held_out = Rows.of(data.x_test, data.y_test, device)
        self.held = data.held_out
        self.vary = shift_and_mirror if config.dataset == "cifar10" else None
        assert data.num_classes is not None
        self.plan = Plan(
            *(data.x_train.shape[1], data.num_classes),
            channels=config.channels,
            cells=config.cells,
            nodes=config.nodes,
        )
        self.tables: dict[str, list[Row]] = {}

    def pair(self, seed: int) -> Row:
        """Search, derive, draw a random cell of the same size, and train both alike."""
        from new_algorithm.gallery.architecture_search.genotypes import random_of_size, rows_of

        sizes, nodes = self.plan.sizes(), self.config.nodes
        clock = TrainingClock()
        derived = self.search(seed, clock)
        size = sizes.of(derived)
        drawn = random_of_size(np.random.default_rng([seed, 2]), nodes, sizes, size, SAME_SIZE)
        off = sizes.of(drawn) / size - 1
        if abs(off) > SAME_SIZE:
            self.run.anomaly(
                f"seed {seed}: no random cells within {SAME_SIZE:.0%} of {size} parameters were "
                f"found, those taken are off by {off:+.0%}"
            )
        accuracies = {}
        for cells, genotype in zip(CELLS, (derived, drawn), strict=True):
            place = {"seed": seed, "cells": cells}
            self._note("cells", [place | row for row in rows_of(genotype)])
            accuracies[cells] = self.from_scratch(cells, genotype, seed)
        return {
            "seed": seed,
            "derived_accuracy": accuracies["derived"],
            "random_accuracy": accuracies["random"],
            "difference": accuracies["derived"] - accuracies["random"],
            "derived_parameters": size,
            "random_parameters": sizes.of(drawn),
            "search_cpu_seconds": clock.cpu_seconds,
            "search_wall_seconds": clock.wall_seconds,
        }

    def search(self, seed: int, clock: TrainingClock) -> "Genotype":
        """Return the cells that are derived after the last epoch."""
        from new_algorithm.gallery.architecture_search.bilevel import ImplicitSettings
        from new_algorithm.gallery.architecture_search.rows import scores_of
        from new_algorithm.gallery.architecture_search.search import SearchSettings, search

        config = self.config
        settings = SearchSettings(
            way=config.hypergradient,
            epochs=config.search_epochs,
            batch_size=config.batch_size,
            alpha_lr=config.alpha_lr,
            implicit=ImplicitSettings(config.settings["damping"]),
        )
        network = self._seeded(seed, self.plan.mixture)
        rng = np.random.default_rng([seed, 1])
        halves = self.train.halves(rng)
        training = search(network, *halves, config.nodes, settings, rng, self.vary)
        failed: Counter[str] = Counter()
        for epoch in progress(clock.around(training), "search", config.search_epochs):
            genotype = epoch.genotype(config.nodes)
            failed += epoch.hypergradients.failed
            loss, accuracy, *_ = scores_of(network, halves[1], epoch.alphas)
            row: Row = {"seed": seed, "epoch": epoch.number, "train_loss": epoch.train_loss}
            row |= {"other_half_loss": loss, "other_half_accuracy": accuracy}
            self._note("search", [row | epoch.hypergradients.row()])
            self._note("alphas", [{"seed": seed, **one} for one in epoch.rows(config.nodes)])
            print(
                f"Search {seed}, epoch {epoch.number}: loss={epoch.train_loss:.4g}, of the other "
                f"half {loss:.4g}, acc={accuracy:.4f}",
                flush=True,
            )
        if failed:
            told = ", ".join(f"{count} {trouble}" for trouble, count in failed.items())
            self.run.anomaly(f"search {seed}: second order in place of implicit gradients: {told}")
        return genotype

    def from_scratch(self, cells: str, genotype: "Genotype", seed: int) -> float:
        """Train such cells and return their held-out accuracy after the last epoch."""
        from new_algorithm.gallery.architecture_search.rows import scores_of
        from new_algorithm.gallery.architecture_search.search import retrain

        config, clock = self.config, TrainingClock()
        network = self._seeded(seed, partial(self.plan.derived, genotype))
        is_kept = cells == "derived" and seed == config.seed
        if is_kept:
            self.run.save_snapshot(0, arrays_of(network.state_dict()))
        training = retrain(
            network,
            self.train,
            epochs=config.epochs,
            batch_size=config.batch_size,
            lr=config.lr,
            rng=np.random.default_rng([seed, 3]),  # the same batches for both of a pair
            vary=self.vary,
        )
        for epoch in progress(clock.around(training), f"{cells} cells", config.epochs):
            train, held_out = (scores_of(network, rows) for rows in (self.scored, self.held_out))
            row: Row = {"seed": seed, "cells": cells, "epoch": epoch, "train_loss": train.loss}
            row |= {"held_out_loss": held_out.loss, "held_out_accuracy": held_out.accuracy}
            self._note("retraining", [row])
            if is_kept:
                arrays = arrays_of(network.state_dict())
                self.run.save_weights(arrays)
                self.run.save_snapshot(epoch, arrays)
                self.run.record_epoch(
                    epoch, train=train, held_out=held_out, layer_norms=network.norms(), clock=clock
                )
            else:
                print(
                    f"Seed {seed}, {cells} cells, epoch {epoch}: loss={train.loss:.4g}, "
                    f"{self.held}_acc={held_out.accuracy:.4f}",
                    flush=True,
                )
        return float(held_out.accuracy or 0.0)

    def _seeded(self, seed: int, build: "Callable[[], Network]") -> "Network":
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build().to(self.device)

    def _note(self, table: str, rows: list[Row]) -> None:
        self.tables.setdefault(table, []).extend(rows)
        save_csv(self.run.folder / f"{table}.csv", self.tables[table])


def gather(config: Config) -> None:
    """Conclude from the pairs of earlier runs; settings in the record are theirs."""
    from new_algorithm.experiments.pairs import read_pairs, record_pairs

    pairs, first = read_pairs(config.gather, f"{PAIRS}.csv", MAY_DIFFER, Layout())
    theirs = {name: value for name, value in first["config"].items() if name not in MAY_DIFFER}
    told = replace(config, **theirs)
    with Run.open(script=Path(__file__), config=told, data=first["data"]) as run:
        record_pairs(pairs, CELLS, PAIRS, run)


if __name__ == "__main__":
    run_main(main)
