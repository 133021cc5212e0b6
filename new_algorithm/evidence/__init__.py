"""Experiments over methods, tasks and seeds: run, searched, tested and reported."""
