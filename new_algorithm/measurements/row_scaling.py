"""Time, memory and arithmetic of a full-batch sweep against the number of rows."""

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from datasets import load_dataset
from new_algorithm.n_layer_relu_data import CHUNK_ROWS, Config, train
from new_algorithm.record.environment import fix_threads
from new_algorithm.record.measurement import Measurement
from new_algorithm.record.memory import peak_memory
from new_algorithm.record.tables import Row

MATRIX_ORDER = 1_024
MEGABYTE = 1e6


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what `function` returns in a process of its own, whose memory is its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def prepare(rows: int, threads: int) -> Row:
    """Draw `rows` rows in the form of HIGGS into the cache, where they are not there yet."""
    fix_threads(threads)
    start = time.perf_counter()
    load_dataset(f"higgs-like:{rows}")
    return {"cache_s": time.perf_counter() - start, "cache_peak_mb": peak_memory() / MEGABYTE}


def measure(rows: int, hidden: tuple[int, ...], sweeps: int, threads: int) -> Row:
    """Train full batch on so many rows and return what a sweep takes, all but the first.

    A sweep is a whole iteration: forward, back, Gram matrices, solves, and the forward pass that
    judges it. Its arithmetic is that of the matrix products alone.
    """
    fix_threads(threads)
    rate = matrix_rate()
    data = load_dataset(f"higgs-like:{rows}")
    config = Config(
        widths=hidden,
        batch_size="full",
        epochs=sweeps,
        gram_average=0.0,  # the Gram matrices of every sweep
        chunk_rows=CHUNK_ROWS,
        threads=threads,
    )
    times = _Times()
    train(replace(config, num_layers=len(hidden) + 1), data, times)
    rate = (rate + matrix_rate()) / 2
    wall, cpu = np.median(np.diff(times.seconds, axis=0), axis=0)
    samples, features = data.x_train.shape
    work = samples * flops_of_a_row([features, *hidden, 1])
    return {
        "rows": rows,
        "train_rows": samples,
        "sweep_s": float(wall),
        "sweep_cpu_s": float(cpu),
        "gflops_per_s": work / float(wall) / 1e9,
        "matrix_gflops_per_s": rate,
        "gflops_per_cpu_s": work / float(cpu) / 1e9,
        "share_of_matrix_rate": work / float(wall) / 1e9 / rate,
        "share_in_cpu_time": work / float(cpu) / 1e9 / rate,
        "peak_mb": peak_memory() / MEGABYTE,
    }


def flops_of_a_row(widths: list[int]) -> int:
    """Return the multiplications and additions of a sweep's matrix products, for one row.

    Two forward passes, H̃ᵀΔ and the passing down; of the symmetric H̃ᵀH̃ one half.
    """
    shapes = [(below + 1, above) for below, above in pairwise(widths)]
    products = sum(d * m for d, m in shapes)
    passed_down = sum((d - 1) * m for d, m in shapes[1:])
    grams = sum(d * d for d, _ in shapes[1:])
    return 2 * (3 * products + passed_down) + grams


def matrix_rate(repeats: int = 8) -> float:
    """Return the GFLOP/s of this machine's float32 matrix product, at its best of `repeats`."""
    a, b, out = np.random.default_rng(0).random((3, MATRIX_ORDER, MATRIX_ORDER), np.float32)
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        np.matmul(a, b, out=out)
        best = min(best, time.perf_counter() - start)
    return 2 * MATRIX_ORDER**3 / best / 1e9


class _Times(Measurement):
    """seconds: wall and CPU at the end of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[tuple[float, float]] = []

    def record_epoch(self, epoch: int, **numbers: Any) -> None:
        super().record_epoch(epoch, **numbers)
        clock = numbers["clock"]
        self.seconds.append((clock.wall_seconds, clock.cpu_seconds))
