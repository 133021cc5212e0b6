"""A classifier for tables."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.utils import compute_sample_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import _check_partial_fit_first_call, check_classification_targets
from sklearn.utils.validation import column_or_1d

from new_algorithm.back_projection.losses import Loss, loss_for, sigmoid, softmax
from new_algorithm.back_projection.step_control import STEP_BOUNDS
from new_algorithm.estimators import defaults
from new_algorithm.estimators.base import BaseBackProjection


class BackProjectionClassifier(ClassifierMixin, BaseBackProjection):
    """A ReLU network that tells classes apart, trained by back projection.

    Parameters beyond those of BaseBackProjection: class_weight, {class: weight} or "balanced".
    Labels may be of any type that can be sorted; two classes share one output.

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> BackProjectionClassifier(random_state=0).fit(X, y).score(X, y) > 0.95
    True
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **BaseBackProjection._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = defaults.WIDTHS,
        *,
        lambda_w: float | Sequence[float] = defaults.LAMBDA_W,
        lambda_h: float | Sequence[float] = np.inf,
        alpha: float = defaults.ALPHA_OF_CLASSES,
        batch_size: str | int = "auto",
        max_iter: str | int = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        step_bounds: tuple[float, float] = STEP_BOUNDS,
        momentum: float = 0.9,
        standardize: bool = True,
        class_weight: Mapping[Any, float] | str | None = None,
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            lambda_w=lambda_w,
            lambda_h=lambda_h,
            alpha=alpha,
            batch_size=batch_size,
            max_iter=max_iter,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            tol=tol,
            step_bounds=step_bounds,
            momentum=momentum,
            standardize=standardize,
            random_state=random_state,
            warm_start=warm_start,
            verbose=verbose,
        )
        self.class_weight = class_weight

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: ArrayLike,  # noqa: N803
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> Any:
        """Make one pass over these rows; `classes`, all there are, at the first call."""
        if self.class_weight == "balanced":
            raise ValueError(
                'class_weight="balanced" needs all rows at once: give partial_fit the weights '
                "themselves, as sklearn.utils.compute_class_weight finds them"
            )
        _check_partial_fit_first_call(self, classes)
        return self._partial_fit(X, y, sample_weight)

    def predict(self, X: ArrayLike) -> NDArray:  # noqa: N803
        """Return the likeliest class of each row, (n_samples,)."""
        outputs = self._decision(X)
        return self.classes_[self._chosen(outputs)]

    def predict_proba(self, X: ArrayLike) -> NDArray:  # noqa: N803
        """Return probabilities (n_samples, n_classes), the classes in the order of `classes_`."""
        outputs = self._decision(X)
        if len(self.classes_) == 2:
            positive = sigmoid(outputs)
            return np.hstack([1 - positive, positive])
        return softmax(outputs)

    def predict_log_proba(self, X: ArrayLike) -> NDArray:  # noqa: N803
        """Return the logarithms of the probabilities."""
        return np.log(self.predict_proba(X))

    def _read_targets(self, y: NDArray, fresh: bool, announced: bool) -> NDArray:
        y = column_or_1d(y, warn=True)
        present = _distinct(y)
        check_classification_targets(y)
        if fresh and not announced:
            self.classes_ = present
        unknown = np.setdiff1d(present, self.classes_)
        if len(unknown):
            raise ValueError(
                f"y has classes that are not among classes_: {unknown.tolist()}; give all of them "
                "to the first fit or partial_fit"
            )
        return y

    def _row_weights(
        self, x: NDArray, y: NDArray, sample_weight: ArrayLike | None
    ) -> NDArray | None:
        row_weights = super()._row_weights(x, y, sample_weight)
        if self.class_weight is None:
            return row_weights
        of_classes = compute_sample_weight(self.class_weight, y).astype(x.dtype)
        if (of_classes < 0).any() or not of_classes.any():
            raise ValueError(
                f"class_weight: weights must be 0 or more and not all 0, got {self.class_weight}"
            )
        weights = of_classes if row_weights is None else of_classes * row_weights
        if not weights.any():
            raise ValueError(
                "class_weight and sample_weight leave every row a weight of zero; give one of them "
                "a positive weight where the other has one"
            )
        return weights / weights.mean()

    def _encode(self, y: NDArray, dtype: np.dtype) -> NDArray:
        return np.searchsorted(self.classes_, y)

    def _loss(self) -> tuple[Loss, int]:
        return loss_for(len(self.classes_), np.empty(0))

    def _chosen(self, outputs: NDArray) -> NDArray:
        """Return the places of the classes that outputs speak for."""
        if len(self.classes_) == 2:
            return (outputs[:, 0] > 0).astype(int)
        return outputs.argmax(axis=1)

    def _score_outputs(self, outputs: NDArray, y: NDArray, row_weights: NDArray | None) -> float:
        return accuracy_score(y, self.classes_[self._chosen(outputs)], sample_weight=row_weights)

    def _strata(self, targets: NDArray) -> NDArray | None:
        counts = np.bincount(targets, minlength=1)
        held_out = int(np.ceil(self.validation_fraction * len(targets)))
        return targets if counts[counts > 0].min() > 1 and held_out >= len(counts) else None


def _distinct(y: NDArray) -> NDArray:
    """Return the classes of y in order. ValueError for kinds that have no order among them."""
    try:
        return np.unique(y)
    except TypeError:
        kinds = sorted({type(label).__name__ for label in y})
        raise ValueError(
            f"y has classes of several kinds, {', '.join(kinds)}: give texts alone or numbers alone"
        ) from None
