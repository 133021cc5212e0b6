"""Time, memory and arithmetic of a full-batch sweep against the number of rows."""

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from datasets import load_dataset
from new_algorithm.cli.threads import fix_threads
from new_algorithm.methods.back_projection import train_with
from new_algorithm.methods.back_projection_settings import Settings
from new_algorithm.methods.chunks import CHUNK_ROWS
from new_algorithm.methods.method import Problem
from new_algorithm.record.files import Row
from new_algorithm.record.provenance import peak_memory

ROWS_FILE = "row_scaling.csv"
MATRIX_ORDER = 1_024
MEGABYTE = 1e6


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what `function` returns in a process of its own, so that its memory is its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def prepare(rows: int, threads: int) -> Row:
    """Draw `rows` HIGGS-like rows into the cache, unless it holds them."""
    fix_threads(threads)
    start = time.perf_counter()
    load_dataset(f"higgs-like:{rows}")
    return {"cache_s": time.perf_counter() - start, "cache_peak_mb": peak_memory() / MEGABYTE}


def measure(rows: int, widths: tuple[int, ...], sweeps: int, threads: int) -> Row:
    """Train full batch on so many rows; return medians over all sweeps but the first.

    A sweep is a whole iteration: forward, back, Gram matrices, solves, and the forward pass that
    judges it. Only its matrix products are counted as arithmetic.
    """
    fix_threads(threads)
    rate = matrix_rate()
    data = load_dataset(f"higgs-like:{rows}")
    # without an average every sweep computes its Gram matrices
    settings = Settings(
        batch_size="full", gram_average=0.0, chunk_rows=CHUNK_ROWS, outer="momentum"
    )
    times = []
    for epoch in train_with(settings, Problem(data, widths, sweeps, seed=0)):
        epoch.scores()
        times.append((epoch.clock.wall_seconds, epoch.clock.cpu_seconds))
    rate = (rate + matrix_rate()) / 2
    wall, cpu = np.median(np.diff(times, axis=0), axis=0)
    samples, features = data.x_train.shape
    work = samples * flops_of_a_row([features, *widths, 1])
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

    Two forward passes, H̃ᵀΔ, Δ passed down, and half of the symmetric H̃ᵀH̃.
    """
    shapes = [(below + 1, above) for below, above in pairwise(widths)]
    products = sum(d * m for d, m in shapes)
    passed_down = sum((d - 1) * m for d, m in shapes[1:])
    grams = sum(d * d for d, _ in shapes[1:])
    return 2 * (3 * products + passed_down) + grams


def matrix_rate(repeats: int = 8) -> float:
    """Return the GFLOP/s of this machine's float32 matrix product, the best of `repeats`."""
    a, b, out = np.random.default_rng(0).random((3, MATRIX_ORDER, MATRIX_ORDER), np.float32)
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        np.matmul(a, b, out=out)
        best = min(best, time.perf_counter() - start)
    return 2 * MATRIX_ORDER**3 / best / 1e9


def draw_row_scaling(figure: Figure, path: Path) -> None:
    """Draw the seconds of a sweep, peak memory, and the rate of arithmetic against rows."""
    table = np.atleast_1d(np.genfromtxt(path, delimiter=",", names=True))
    rows = table["train_rows"]
    time, memory, share = figure.subplots(1, 3)
    seconds = table["sweep_s"]
    time.plot(rows, seconds, label="wall", marker="o")
    time.plot(rows, table["sweep_cpu_s"], label="CPU", marker="s")
    time.plot(rows, seconds[0] / rows[0] * rows, label="in proportion to rows", marker="")
    time.set_yscale("log")
    time.set_ylabel("seconds a sweep")
    time.legend()
    memory.plot(rows, table["peak_mb"], label="peak", marker="o")
    memory.plot(rows, np.full(len(rows), 1.3 * table["peak_mb"][0]), label="1.3 × smallest")
    memory.set_ylim(bottom=0)
    memory.set_ylabel("peak memory (MB)")
    memory.legend()
    share.plot(rows, table["gflops_per_cpu_s"], label="sweep", marker="o")
    share.plot(rows, table["matrix_gflops_per_s"], label="matrix product", marker="s")
    share.set_ylim(bottom=0)
    share.set_ylabel("GFLOP a CPU second")
    share.legend()
    for axes in (time, memory, share):
        axes.set_xscale("log")
        axes.set_xlabel("training rows")
