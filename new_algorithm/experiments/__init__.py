"""Experiments from a definition to a report; the .toml files are the definitions."""
