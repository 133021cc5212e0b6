"""Why one source of a data set gave nothing; the next source is tried."""


class FetchError(Exception):
    """Its text is the reason in a few words."""
