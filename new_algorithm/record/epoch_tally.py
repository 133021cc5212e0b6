"""What happened in the iterations of one epoch, summed up for the record."""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class EpochTally:
    """troubles: (iteration, error) of each step that was taken back."""

    troubles: list[tuple[int, Exception]] = field(default_factory=list)
    _stalls: list[tuple[int, int]] = field(default_factory=list)  # (iteration, layer)
    _cg_iterations: list[list[int]] = field(default_factory=list)
    _decreases: list[tuple[float, float]] = field(default_factory=list)

    def trouble(self, iteration: int, error: Exception) -> None:
        """A step had to be taken back."""
        self.troubles.append((iteration, error))

    def decrease(self, predicted: float, actual: float) -> None:
        """A step was judged by the loss of its batch."""
        self._decreases.append((predicted, actual))

    def solves(self, iteration: int, cg_iterations: list[int], stalled: list[int]) -> None:
        """A sweep was made; stalled: the layers whose solve rounding stopped short."""
        self._cg_iterations.append(cg_iterations)
        self._stalls += [(iteration, layer) for layer in stalled]

    def numbers(self) -> dict[str, object]:
        """Means over the epoch, decreases as those of a judged step, and counts."""
        finite = [pair for pair in self._decreases if np.isfinite(pair).all()]
        predicted, actual = np.mean(finite, axis=0) if finite else (0.0, 0.0)
        return {
            "cg_iterations": np.mean(self._cg_iterations, axis=0),
            "predicted_step_decrease": predicted,
            "actual_step_decrease": actual,
            "steps_taken_back": len(self.troubles),
            "stalled_solves": len(self._stalls),
        }

    def anomalies(self, epoch: int) -> list[str]:
        """One sentence for what went wrong, each with layer and iteration."""
        texts = []
        if self.troubles:
            iteration, error = self.troubles[0]
            texts.append(
                f"epoch {epoch}: {_times(len(self.troubles), 'step')} taken back, the first in "
                f"iteration {iteration}, {error}"
            )
        if self._stalls:
            iteration, layer = self._stalls[0]
            texts.append(
                f"epoch {epoch}: conjugate gradients stalled in "
                f"{_times(len(self._stalls), 'solve')}, the first in layer {layer} at iteration "
                f"{iteration}"
            )
        return texts


def _times(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
