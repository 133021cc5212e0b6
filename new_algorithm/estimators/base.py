"""What classifier and regressor share: parameters, the fit, and the outputs of the network."""

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar
from warnings import warn

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, _fit_context, is_regressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from new_algorithm.back_projection.losses import Loss
from new_algorithm.back_projection.network import seeded_start
from new_algorithm.back_projection.optimizer import MOST_ROLLBACKS
from new_algorithm.back_projection.schedule import WARM_UP
from new_algorithm.back_projection.state import State
from new_algorithm.back_projection.step_control import STEP_BOUNDS
from new_algorithm.estimators import defaults
from new_algorithm.estimators.held_out import Progress, leave_out
from new_algorithm.estimators.scaling import fitted_scaler
from new_algorithm.estimators.training import Settings, Table, Training, outputs_of, seed_of


class BaseBackProjection(BaseEstimator, metaclass=ABCMeta):
    """A ReLU network trained by back projection.

    hidden_layer_sizes: units of each hidden layer. lambda_w: penalties on the change of the weights
    of each layer, in mean eigenvalues of its inputs' Gram matrix; one for all or one each.
    lambda_h: likewise on the change of hidden values; ∞ passes residuals down as back-propagation
    does. alpha: weight decay, α/(2n) ‖W‖² beside the mean loss of n rows; below 400 rows n is 400.
    batch_size: rows, "full", or "auto", about 64. max_iter: passes over the rows, during which
    steps grow and shrink again; "auto" makes about 14 √n steps. early_stopping: leave
    `validation_fraction` of the rows out, end where they have not been told better by `tol` for
    `n_iter_no_change` passes, and keep the weights of the best pass; without it the mean loss of
    the batches decides on the end. step_bounds: squared length of a step, at first and at least,
    and at most. standardize: features to mean 0 and standard deviation 1. random_state, warm_start,
    verbose: as in scikit-learn's networks.

    Fitted: coefs_, intercepts_ (of standardised features), loss_curve_, best_loss_,
    validation_scores_, n_iter_, scaler_, n_features_in_, feature_names_in_, n_layers_, n_outputs_.
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "lambda_w": ["array-like", Interval(Real, 0, None, closed="left")],
        "lambda_h": ["array-like", Interval(Real, 0, None, closed="right")],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto", "full"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "step_bounds": ["array-like"],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "standardize": ["boolean"],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = defaults.WIDTHS,
        *,
        lambda_w: float | Sequence[float] = defaults.LAMBDA_W,
        lambda_h: float | Sequence[float] = np.inf,
        alpha: float = defaults.ALPHA_OF_VALUES,
        batch_size: str | int = "auto",
        max_iter: str | int = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        step_bounds: tuple[float, float] = STEP_BOUNDS,
        momentum: float = 0.9,
        standardize: bool = True,
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        verbose: bool = False,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.lambda_w = lambda_w
        self.lambda_h = lambda_h
        self.alpha = alpha
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.step_bounds = step_bounds
        self.momentum = momentum
        self.standardize = standardize
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose

    @abstractmethod
    def _read_targets(self, y: NDArray, fresh: bool, announced: bool) -> NDArray:
        """Return y in the shape that is worked with; where `fresh`, learn its classes, unless they
        were `announced`.

        ValueError for targets that do not fit those learnt.
        """

    @abstractmethod
    def _encode(self, y: NDArray, dtype: np.dtype) -> NDArray:
        """Return y as the loss has it."""

    @abstractmethod
    def _loss(self) -> tuple[Loss, int]:
        """Return the loss, and the outputs that it needs."""

    @abstractmethod
    def _score_outputs(self, outputs: NDArray, y: NDArray, row_weights: NDArray | None) -> float:
        """Return the accuracy, or R², of outputs of the network."""

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:  # noqa: N803
        """Train on X (n_samples, n_features) and y; return self."""
        fresh = not (self.warm_start and hasattr(self, "coefs_"))
        table, y = self._validated(X, y, sample_weight, fresh)
        rng, weights = self._start(table, fresh)
        left_out = None
        if self.early_stopping:
            strata = self._strata(table.targets)
            table, y, left_out = leave_out(table, y, self.validation_fraction, self._seed, strata)
        self._state: State | None = None
        settings = self._settings(table, known_beforehand=True)
        training = Training(table, self._loss()[0], weights, rng, settings)
        passes = defaults.passes_over(self.max_iter, len(table), settings.batch_size)
        # while the steps still grow nothing is said to have stopped
        progress = Progress(self.tol, self.n_iter_no_change, int(WARM_UP * passes))
        self.n_iter_, self.loss_curve_ = 0, []
        scores: list[float] = []
        with threadpool_limits(1, "blas"):  # the same bits everywhere; small products gain nothing
            for loss in training.epochs(passes):
                self.n_iter_ += 1
                self._passes += 1
                self.loss_curve_.append(loss)
                if left_out is not None:
                    weights = training.weights
                    scores.append(self._score_weights(weights, *left_out))
                self._tell(loss, scores)
                if progress.is_best(scores[-1] if scores else -loss) and scores:
                    self._keep(weights)
                if progress.is_over or self._is_lost(training):
                    break
        if left_out is None:
            self._keep(training.weights)
        self.validation_scores_ = scores or None
        self.best_loss_ = float(np.nanmin(self.loss_curve_))
        return self

    def _partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None) -> Any:  # noqa: N803
        """Make one pass over the rows, with steps of the full size; return self."""
        if self.early_stopping:
            raise ValueError("partial_fit has no end to decide on: early_stopping must be False")
        fresh = not hasattr(self, "coefs_")
        table, y = self._validated(X, y, sample_weight, fresh, announced=True)
        rng, weights = self._start(table, fresh)
        if fresh:
            self.n_iter_, self.loss_curve_, self.validation_scores_ = 0, [], None
            self._state = None
        settings = self._settings(table, known_beforehand=False)
        training = Training(table, self._loss()[0], weights, rng, settings)
        if self._state is not None:
            training.optimizer.load_state_dict(self._state)
        with threadpool_limits(1, "blas"):
            self.loss_curve_ += training.epochs(1)
        self.n_iter_ += 1
        self._passes += 1
        self._tell(self.loss_curve_[-1], [])
        self._is_lost(training)
        self._keep(training.weights)
        self._state = training.optimizer.state_dict()
        self.best_loss_ = float(np.nanmin(self.loss_curve_))
        return self

    def _validated(
        self,
        X: ArrayLike,  # noqa: N803
        y: Any,
        sample_weight: ArrayLike | None,
        fresh: bool,
        announced: bool = False,
    ) -> tuple[Table, NDArray]:
        """Return the table as the network sees it, and y as it came."""
        x, y = validate_data(
            self,
            X,
            y,
            dtype=(np.float64, np.float32),
            multi_output=True,
            y_numeric=is_regressor(self),
            reset=fresh,
        )
        y = self._read_targets(y, fresh, announced)
        row_weights = self._row_weights(x, y, sample_weight)
        if fresh:
            self.scaler_ = None
            if self.standardize:
                self.scaler_ = fitted_scaler(x, row_weights, "X")
            self._fit_targets(y, row_weights)
        x = self._scaled(x)
        return Table(x, self._encode(y, x.dtype), row_weights), y

    def _fit_targets(self, y: NDArray, row_weights: NDArray | None) -> None:
        """Learn the scale of targets, where they have one."""

    def _row_weights(
        self, x: NDArray, y: NDArray, sample_weight: ArrayLike | None
    ) -> NDArray | None:
        """Return the weights of the rows, their mean 1; None where all count alike."""
        if sample_weight is None:
            return None
        weights = _check_sample_weight(sample_weight, x, dtype=x.dtype, ensure_non_negative=True)
        if not weights.any():
            raise ValueError("sample_weight: all weights are zero; give some rows a positive one")
        return weights / weights.mean()

    def _start(self, table: Table, fresh: bool) -> tuple[np.random.Generator, list[NDArray]]:
        """Return the generator of shuffles, and the weights to begin with."""
        hidden = defaults.hidden_widths(self.hidden_layer_sizes)
        if fresh:
            self._seed, self._passes = seed_of(self.random_state), 0  # over any rows so far
            widths = (table.x.shape[1], *hidden, self._loss()[1])
            return seeded_start(self._seed, widths, table.x.dtype)
        trained = [coef.shape[1] for coef in self.coefs_[:-1]]
        if hidden != trained:
            raise ValueError(
                f"hidden_layer_sizes is {hidden}, and the network to go on with has {trained}: "
                "set it back, or fit a new estimator"
            )
        weights = [weight.astype(table.x.dtype) for weight in self._weights]
        return np.random.default_rng([self._seed, 1, self._passes]), weights

    def _settings(self, table: Table, known_beforehand: bool) -> Settings:
        layers = len(defaults.hidden_widths(self.hidden_layer_sizes)) + 1
        decay = defaults.decay(self.alpha, len(table))
        return Settings(
            penalties=defaults.penalties(self.lambda_w, self.lambda_h, decay, layers),
            batch_size=defaults.rows_of_a_batch(self.batch_size, len(table)),
            step_bounds=defaults.checked_bounds(self.step_bounds),
            momentum=self.momentum,
            known_beforehand=known_beforehand,
        )

    def _strata(self, targets: NDArray) -> NDArray | None:
        """Return the classes, where each has rows for both parts."""
        return None

    def _is_lost(self, training: Training) -> bool:
        """Whether step after step has been taken back; warns."""
        lost = training.optimizer.rollbacks_in_a_row > MOST_ROLLBACKS
        if lost:
            warn(
                f"{MOST_ROLLBACKS} steps in a row had to be taken back, and the training ended in "
                f"pass {self.n_iter_}: raise lambda_w, or lower step_bounds",
                ConvergenceWarning,
                stacklevel=3,
            )
        return lost

    def _tell(self, loss: float, scores: list[float]) -> None:
        if self.verbose:
            score = f", validation_score={scores[-1]:.4f}" if scores else ""
            print(f"Epoch {self.n_iter_}: loss={loss:.4g}{score}", flush=True)

    def _score_weights(
        self, weights: list[NDArray], x: NDArray, y: NDArray, row_weights: NDArray | None
    ) -> float:
        return float(self._score_outputs(outputs_of(weights, x), y, row_weights))

    def _keep(self, weights: list[NDArray]) -> None:
        self.coefs_ = [weight[:-1] for weight in weights]
        self.intercepts_ = [weight[-1] for weight in weights]
        self.n_layers_, self.n_outputs_ = len(weights) + 1, weights[-1].shape[1]

    def _decision(self, X: ArrayLike) -> NDArray:  # noqa: N803
        """Return the outputs of the network (n_samples, n_outputs)."""
        check_is_fitted(self)
        x = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return outputs_of(self._weights, self._scaled(x))

    @property
    def _weights(self) -> list[NDArray]:
        """W̃ of each layer, as `_keep` took them apart."""
        pairs = zip(self.coefs_, self.intercepts_, strict=True)
        return [np.vstack([coef, intercept]) for coef, intercept in pairs]

    def _scaled(self, x: NDArray) -> NDArray:
        return x if self.scaler_ is None else self.scaler_.transform(x)
