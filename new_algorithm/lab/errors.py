"""The one kind of error that is shown without a traceback."""


class UserError(Exception):
    """A mistake of the user: its text is one line that names the thing and the remedy."""
