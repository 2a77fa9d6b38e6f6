"""Runs a command until it ends, or until standard input does: its owner is gone then, however that died."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

GRACE_SECONDS = 5

child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)


def signal_group(number: int) -> None:
    """Reaches what the command has started too."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def end_with_owner() -> None:
    sys.stdin.buffer.read()
    signal_group(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_SECONDS)
    signal_group(signal.SIGKILL)


watcher = threading.Thread(target=end_with_owner, daemon=True)
watcher.start()
status = child.wait()
signal_group(signal.SIGKILL)
os._exit(status & 0xFF)
