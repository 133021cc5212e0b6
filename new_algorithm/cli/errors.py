"""Errors that are shown as one line, without a traceback."""


class UserError(Exception):
    """A mistake of the user: its text is one line that names the thing and the remedy."""


class DivergedError(UserError):
    """Training went wrong numerically: the layer and iteration, and what to try."""
