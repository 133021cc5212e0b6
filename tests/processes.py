"""Processes that tests start, and that end with them."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def assert_one_clear_line(finished, *words):
    """A user's mistake: status 2 and one line on stderr, with these words in it."""
    assert finished.returncode == 2, finished.stdout + finished.stderr
    text = finished.stderr.strip()
    assert "Traceback" not in text
    assert text.startswith("error: ")
    assert "\n" not in text
    for word in words:
        assert word in text


def heed_ctrl_c():
    """Tests that run in the background inherit ignored signals, and so would their children."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def starting() -> Iterator[Callable[..., subprocess.Popen]]:
    """start(command, **options) -> a Popen that heeds Ctrl-C, its output piped as text."""
    processes = []

    def start(command, **options):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(command, preexec_fn=heed_ctrl_c, **pipes | options))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
