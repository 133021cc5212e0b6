"""A batch: rows in one chunk or in many, on one process or shared out over several.

Whatever a sweep needs of its rows is a sum over them, so that neither the number of chunks nor
that of processes changes what it finds, but for rounding, and for the labels that are drawn of the
rows of each process where λ_h acts in the layers' own problems (right_factors.py).
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.gram import GramNeed, GramSum, rows_shown, shown_every
from new_algorithm.back_projection.network import FlatParameters

Chunk = tuple[NDArray, NDArray]  # inputs H̃_0 (c, d), targets (c,) or (c, m)
ChunkOfRows = tuple[NDArray, ...]  # the same, or with weights (c,) ≥ 0 of rows that count unlike
Batch = Iterable[ChunkOfRows]  # may be gone through more than once
AllSum = Callable[[NDArray], None]  # adds an array up over all processes, in place


def scaled_rows(inputs: NDArray, row_weights: NDArray | None) -> NDArray:
    """Return √s_i h_i, rows of which plain sums H̃ᵀH̃ are weighted ones; `inputs` without weights."""
    return inputs if row_weights is None else np.sqrt(row_weights)[:, None] * inputs


def rows_of_batch(size: int | str, rows: int) -> int:
    """Return how many of `rows` rows a batch has: `size`, at most all of them; "full": all."""
    return rows if size == "full" else min(int(size), rows)


class RowSums:
    """What a sweep needs of its rows: Σ 1, Σ loss, and of each layer H̃ᵀΔ and, on request, H̃ᵀH̃.

    moments: M = H̃ᵀΔ/n of each layer, complete after `finish`. Of a large batch in one chunk every
    k-th row alone is in the Gram matrices (gram.shown_every). in_chunks: whether a batch may have
    several; then sums are kept in float64, so that they do not depend on how many there were. On
    their way between processes they are of the weights' type, and of each symmetric one a triangle.
    Of outputs, on request: Σ g gᵀ of each layer's sampled residuals (right_factors.py).
    """

    def __init__(self, weights: FlatParameters, in_chunks: bool, all_sum: AllSum | None) -> None:
        dtype = np.dtype(np.float64) if in_chunks else weights.flat.dtype
        self.in_chunks = in_chunks
        self.moments = weights.zeros_like()
        self._totals = weights.zeros_like(dtype) if in_chunks else None
        self._grams = [np.zeros((len(weight), len(weight)), dtype) for weight in weights.matrices]
        widths = [weight.shape[1] for weight in weights.matrices]
        self._of_outputs = [np.zeros((width, width), dtype) for width in widths]
        self._all_sum = all_sum
        self.clear(["nothing"] * len(weights.matrices))

    def clear(self, needs: Sequence[GramNeed], *, outputs: bool = False) -> None:
        """Begin a batch of which each layer needs so much of H̃ᵀH̃; outputs: and the sums of them."""
        self.rows, self.losses = 0, 0.0
        self._needs, self._traces = needs, [0.0] * len(needs)
        self.outputs_needed = outputs
        if self._totals is not None:
            self._totals.flat[:] = 0
            for gram in self._needed_squares():
                gram[:] = 0

    def add(
        self, index: int, inputs: NDArray, delta: NDArray, row_weights: NDArray | None = None
    ) -> None:
        """Take in H̃ and Δ/c of a chunk of c rows, at one layer.

        row_weights: s (c,), which Δ holds already; H̃ᵀH̃ becomes H̃ᵀ diag(s) H̃.
        """
        moment, need = self.moments.matrices[index], self._needs[index]
        np.matmul(inputs.T, delta, out=moment)
        if self._totals is not None:
            self._totals.matrices[index] += len(inputs) * moment
        if need != "nothing":
            every = shown_every(len(inputs), self.in_chunks)
            of_shown = None if row_weights is None else row_weights[::every]
            scaled = scaled_rows(inputs[::every], of_shown)
            self._traces[index] += float(np.vdot(scaled, scaled))
        if need == "gram" and self._totals is not None:
            self._grams[index] += scaled.T @ scaled
        elif need == "gram":
            np.matmul(scaled.T, scaled, out=self._grams[index])

    def add_of_outputs(self, sampled: Sequence[NDArray]) -> None:
        """Take in g (c, d_out) of a chunk, of each layer."""
        for total, g in zip(self._of_outputs, sampled, strict=True):
            if self.in_chunks:
                total += g.T @ g
            else:
                np.matmul(g.T, g, out=total)

    def finish(self) -> None:
        """Add up over all processes, and make the moments means over the rows."""
        if self._totals is None:
            return
        if self._all_sum is not None:
            self._reduce(self._totals, self._all_sum)
        np.divide(self._totals.flat, self.rows, out=self.moments.flat, casting="same_kind")

    def gram(self, index: int) -> GramSum | None:
        """Return what a layer needs of H̃ᵀH̃, if anything; valid until the next batch."""
        need = self._needs[index]
        if need == "nothing":
            return None
        gram, trace = self._grams[index], self._traces[index]
        total = gram.astype(self.moments.flat.dtype, copy=False) if need == "gram" else None
        return GramSum(total, trace, self.rows_shown, len(gram))

    @property
    def rows_shown(self) -> int:
        """How many rows the Gram matrices are of."""
        return rows_shown(self.rows, self.in_chunks)

    def of_outputs(self) -> list[NDArray] | None:
        """Return Σ g gᵀ of each layer where they were asked for."""
        if not self.outputs_needed:
            return None
        dtype = self.moments.flat.dtype
        return [one.astype(dtype, copy=False) for one in self._of_outputs]

    def _reduce(self, totals: FlatParameters, all_sum: AllSum) -> None:
        traced = [index for index, need in enumerate(self._needs) if need == "trace"]
        counts = np.array([self.rows, self.losses, *(self._traces[index] for index in traced)])
        all_sum(counts)
        self.rows, self.losses = int(counts[0]), float(counts[1])
        for index, trace in zip(traced, counts[2:].tolist(), strict=True):
            self._traces[index] = trace

        grams = self._needed_squares()
        triangles = [np.triu_indices(len(gram)) for gram in grams]
        parts = [totals.flat]
        parts += [gram[upper] for gram, upper in zip(grams, triangles, strict=True)]
        with np.errstate(over="ignore"):  # what is beyond float32 is found and named afterwards
            payload = np.concatenate(parts).astype(self.moments.flat.dtype)
        all_sum(payload)
        received = np.split(payload, np.cumsum([part.size for part in parts])[:-1])
        totals.flat[:] = received[0]
        for gram, upper, values in zip(grams, triangles, received[1:], strict=True):
            gram[upper] = values
            gram.T[upper] = values
        for index, need in enumerate(self._needs):
            if need == "gram":
                self._traces[index] = float(self._grams[index].trace())

    def _needed_squares(self) -> list[NDArray]:
        pairs = zip(self._grams, self._needs, strict=True)
        grams = [gram for gram, need in pairs if need == "gram"]
        return grams + self._of_outputs if self.outputs_needed else grams
