"""Measurements of the method itself: the cost of a step, scaling, the λ map."""
