"""Flags, console, progress and signals: what a script shares with its user."""
