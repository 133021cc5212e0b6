"""A regressor for tables."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.utils.validation import assert_all_finite, column_or_1d

from new_algorithm.back_projection.losses import SQUARED, Loss
from new_algorithm.estimators.base import BaseBackProjection
from new_algorithm.estimators.scaling import fitted_scaler

NUMBERS = "biuf"  # kinds of types: Boolean, integers, floating point


class BackProjectionRegressor(RegressorMixin, BaseBackProjection):
    """A ReLU network for one number a row or for several, trained by back projection.

    Parameters: those of BaseBackProjection. Targets are standardised too, whatever `standardize`
    says of the features, so that penalties and steps suit any unit.

    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> BackProjectionRegressor(random_state=0).fit(X, y).score(X, y) > 0.5
    True
    """

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: ArrayLike,  # noqa: N803
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> Any:
        """Make one pass over these rows."""
        return self._partial_fit(X, y, sample_weight)

    def predict(self, X: ArrayLike) -> NDArray:  # noqa: N803
        """Return the values of each row, (n_samples,) or (n_samples, n_outputs)."""
        return self._values(self._decision(X))

    def _read_targets(self, y: NDArray, fresh: bool, announced: bool) -> NDArray:
        if y.dtype.kind not in NUMBERS:  # objects are numbers by now, texts are not
            raise TypeError(f"y has the type {y.dtype}; give numbers, such as y.astype(float)")
        assert_all_finite(y, input_name="y")  # None among objects is NaN by now
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        outputs = 1 if y.ndim == 1 else y.shape[1]
        if not fresh and outputs != self.n_outputs_:
            raise ValueError(f"y has {outputs} outputs, and {self.n_outputs_} were learnt")
        self._flat = y.ndim == 1
        return y

    def _fit_targets(self, y: NDArray, row_weights: NDArray | None) -> None:
        columns = y.reshape(len(y), -1).astype(np.float64)
        self.target_scaler_ = fitted_scaler(columns, row_weights, "y")

    def _encode(self, y: NDArray, dtype: np.dtype) -> NDArray:
        columns = y.reshape(len(y), -1).astype(np.float64)
        return self.target_scaler_.transform(columns).astype(dtype)

    def _loss(self) -> tuple[Loss, int]:
        return SQUARED, len(self.target_scaler_.mean_)

    def _values(self, outputs: NDArray) -> NDArray:
        values = self.target_scaler_.inverse_transform(outputs)
        return values[:, 0] if self._flat else values

    def _score_outputs(self, outputs: NDArray, y: NDArray, row_weights: NDArray | None) -> float:
        if len(y) < 2:
            raise ValueError(
                "early_stopping is decided by R², which one row does not have: give more rows, or "
                "a larger validation_fraction"
            )
        return r2_score(y, self._values(outputs), sample_weight=row_weights)
