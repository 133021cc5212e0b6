"""Back projection for scikit-learn: a classifier and a regressor for tables."""

from new_algorithm.estimators.classifier import BackProjectionClassifier
from new_algorithm.estimators.regressor import BackProjectionRegressor

__all__ = ["BackProjectionClassifier", "BackProjectionRegressor"]
