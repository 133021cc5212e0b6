"""Ctrl-C for the processes that tests start."""

import signal


def heed_ctrl_c():
    """Tests that run in the background inherit an ignored Ctrl-C, and so would their children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
