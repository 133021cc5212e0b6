"""What a batch is: rows in one chunk or in many, on one process or shared out over several."""

from collections.abc import Callable, Iterable

from numpy.typing import NDArray

Chunk = tuple[NDArray, NDArray]  # inputs H̃_0 (c, d), targets (c,) or (c, m)
Batch = Iterable[Chunk]  # may be gone through more than once
AllSum = Callable[[NDArray], None]  # adds an array up over all processes, in place
