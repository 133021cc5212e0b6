"""Experiments with back projection: scripts, the method, and what every run leaves behind."""

import signal
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("numpy") is None:
    print(
        "error: NumPy is missing: `./starter python SCRIPT` runs it with all it needs",
        file=sys.stderr,
    )
    raise SystemExit(2)


def _is_for_a_script() -> bool:
    """Whether one of the scripts is what runs, and not a program that uses this package."""
    here = Path(__file__).resolve().parent
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    return script is not None and Path(script).resolve().parent in (here, here.parent)


if _is_for_a_script() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # quiet, until run_main takes over from imports
