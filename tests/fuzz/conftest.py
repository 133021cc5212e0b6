"""--fuzz SECONDS: each door is knocked at for so long, with other seeds each time."""

import time

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    start, cpu, rounds = time.monotonic(), time.process_time(), 1
    seconds = item.config.getoption("--fuzz")
    yield
    while time.monotonic() < start + seconds:
        item.runtest()
        rounds += 1
    reporter = item.config.pluginmanager.get_plugin("terminalreporter")
    if seconds and reporter:
        took = f"{time.monotonic() - start:.0f} s, {time.process_time() - cpu:.0f} of CPU"
        reporter.write_line(f"{item.name}: {rounds} rounds, {took}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of the test module."""
    return tmp_path_factory.mktemp("fuzz")
