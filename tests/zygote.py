"""Runs a script's main() in forked processes, which spares them the seconds that imports take.

    python tests/zygote.py MODULE

Reads a job a line as JSON and answers with its exit statuses as JSON, negative of a signal's
number. arguments: of the script. environments: one a process. log: the file of their output.
killed_after: seconds until SIGKILL, null for never; victims: the processes that it is sent to.
"""

import importlib
import json
import os
import signal
import sys
import time

from new_algorithm.cli.console import run_main
from tests.processes import heed_ctrl_c


def forked(module, job, environment):
    """Return the process id of one that runs the script."""
    pid = os.fork()
    if pid:
        return pid
    heed_ctrl_c()
    os.environ.update(environment)
    log = os.open(job["log"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    sys.argv = [module.__file__, *job["arguments"]]
    status = 0
    try:
        run_main(module.main)
    except SystemExit as ended:
        status = ended.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    sys.stdout.flush()
    os._exit(status or 0)


def main():
    module = importlib.import_module(sys.argv[1])
    for name in sys.argv[2:]:
        importlib.import_module(name)
    for line in sys.stdin:
        job = json.loads(line)
        pids = [forked(module, job, environment) for environment in job["environments"]]
        if job["killed_after"] is not None:
            deadline = time.monotonic() + job["killed_after"]
            while not ended(pids[0]) and time.monotonic() < deadline:
                time.sleep(0.005)
            for victim in job["victims"]:
                os.kill(pids[victim], signal.SIGKILL)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        print(json.dumps(statuses), flush=True)


def ended(pid):
    """Whether the process is over; its status stays to be asked for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


if __name__ == "__main__":
    main()
