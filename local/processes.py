"""Child processes: started, waited for, and ended with all that they started."""

import math
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from console import STOP_SIGNALS, Failure
from workspace import ROOT, shown

POLL_SECONDS, LOOK_SECONDS, UP_SECONDS, END_SECONDS = 0.05, 1.0, 60.0, 5.0

_seen: set[psutil.Process] = set()
"""Everything below this process. Once a parent has ended, nothing else leads to its children."""


@contextmanager
def ending_processes() -> Iterator[None]:
    """Ends everything that was started when the `with` block is left, for whatever reason."""
    try:
        yield
    finally:
        # Who cannot wait for the end of it would leave something behind.
        heeded = {signum: signal.signal(signum, lambda *_: None) for signum in STOP_SIGNALS}
        for signum in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + END_SECONDS
            for process in living():
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signum)
            while living() and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
        for signum, handler in heeded.items():
            signal.signal(signum, handler)


def living() -> list[psutil.Process]:
    """What lives of all that was started, zombies left out."""
    for process in {psutil.Process(), *_seen}:
        with suppress(psutil.NoSuchProcess):
            _seen.update(process.children(recursive=True))
    for process in list(_seen):
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                continue
        _seen.remove(process)
    return list(_seen)


def start(
    command: Sequence[object],
    log: Path | None = None,
    env: Mapping[str, str] = os.environ,
    cwd: Path = ROOT,
) -> subprocess.Popen[bytes]:
    """Starts a process whose output goes to the file `log`, or to stderr.

    Secrets go in by `env` or files, never by `command`, which every user of the machine can see.
    """
    # In a session of their own they are not reached by a terminal's Ctrl-C: we end them.
    how = {"env": env, "cwd": cwd, "stdin": subprocess.DEVNULL, "start_new_session": True}
    with Path(log or os.devnull).open("wb") as file:
        output = file if log else 2
        return subprocess.Popen(list(map(str, command)), stdout=output, stderr=output, **how)


def succeeds(command: Sequence[object], log: Path | None = None, **how: object) -> bool:
    """Runs a command to its end."""
    child = start(command, log, **how)
    for _ in polls(log):
        if child.poll() is not None:
            break
    return child.returncode == 0


def run(name: str, command: Sequence[object]) -> None:
    """Runs a command that has to succeed, and whose output is shown."""
    if not succeeds(command):
        raise Failure(f"{name} failed: see above")


def start_server(name: str, command: Sequence[object], port: int, log: Path, **how: object) -> None:
    """Starts a server on this machine, and waits until it takes connections."""
    child = start(command, log, **how)
    for _ in polls(log, UP_SECONDS):
        if child.poll() is not None:
            said = "".join(last_lines(log, 1))
            raise Failure(f"{name} ended before it was up: {said}", f"its log is {shown(log)}")
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
    raise Failure(f"{name} was not up after {UP_SECONDS:.0f} s", f"its log is {shown(log)}")


def free_port(preferred: int) -> int:
    """A port of this machine, the same in every run as long as nobody else has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def polls(log: Path | None, seconds: float = math.inf) -> Iterator[None]:
    """Comes back again and again, as long as that; a terminal shows the time and the log's end."""
    deadline, look_at = time.monotonic() + seconds, 0.0
    columns = TextColumn("   "), TimeElapsedColumn(), TextColumn("{task.description}", markup=False)
    terminal = Console(stderr=True)
    hidden = not log or not terminal.is_terminal
    with Progress(*columns, console=terminal, transient=True, disable=hidden) as progress:
        task = progress.add_task("", total=None)
        while time.monotonic() < deadline:
            if time.monotonic() >= look_at:
                living()
                said = "".join(last_lines(log, 1))[: terminal.width - 20]
                progress.update(task, description=said)
                look_at = time.monotonic() + LOOK_SECONDS
            yield
            time.sleep(POLL_SECONDS)


def last_lines(log: Path | None, count: int) -> list[str]:
    """The last lines of a log that say anything."""
    lines = log.read_text(errors="replace").splitlines() if log else []
    return [line.rstrip() for line in lines if line.strip()][-count:]
