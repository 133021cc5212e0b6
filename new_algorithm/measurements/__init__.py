"""Measurements of the method itself: cost, scaling, maps."""
