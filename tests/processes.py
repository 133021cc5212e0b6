"""Processes that tests start, and that end with them."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


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


def workers_of(parent: int) -> list[int]:
    """The worker processes that multiprocessing has begun for a process."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended by now
            of = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if of == parent and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def assert_ends(process: int, seconds: float = 60) -> None:
    """It is gone, or dead and not yet asked for its status, within the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":
            return
        time.sleep(0.05)
    raise AssertionError(f"process {process} is still at work")
