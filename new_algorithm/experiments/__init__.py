"""Experiments, from a definition (definitions/*.toml) to a report."""
