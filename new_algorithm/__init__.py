"""Experiments with back projection: scripts, the method, and what every run leaves behind."""
