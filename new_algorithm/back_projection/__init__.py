"""Back projection: pure functions on arrays, with NumPy and SciPy alone."""
