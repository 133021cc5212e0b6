"""Models of scikit-learn's interface on public tables: named, tuned and scored."""
