"""Child processes: each in a process group of its own, ended with all that they started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, NamedTuple, final

from console import Elapsed, Failure, Stopped
from workspace import shown

POLL_SECONDS = 0.05
REMEMBER_SECONDS = 1.0
TERMINATE_SECONDS = 5.0
KILL_SECONDS = 5.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Child(NamedTuple):
    """A started process."""

    name: str
    """What a person calls it."""
    popen: subprocess.Popen[bytes]
    log: Path | None
    """Where its output goes; `None` if it is shown."""

    def has_ended(self) -> bool:
        return self.popen.poll() is not None


@final
class Processes:
    """Starts processes, and ends them all when its `with` block is left, for whatever reason.

    Inside the block SIGINT, SIGTERM and SIGHUP raise `Stopped`, once.
    """

    def __init__(self) -> None:
        self._children: list[Child] = []
        self._groups: set[int] = set()
        self._stopping = False
        self._starting = False
        self._postponed: int | None = None
        self._former_handlers: dict[int, object] = {}

    def __enter__(self) -> Processes:
        for signum in STOP_SIGNALS:
            self._former_handlers[signum] = signal.signal(signum, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping = True
        self._end_all()
        for signum, handler in self._former_handlers.items():
            signal.signal(signum, handler)  # type: ignore[arg-type]

    def start(
        self,
        name: str,
        command: Sequence[object],
        *,
        env: Mapping[str, str],
        cwd: Path,
        log: Path | None = None,
        stdout: IO[bytes] | None = None,
    ) -> Child:
        """Starts a process whose output goes to the file `log`, or to stderr.

        `stdout` takes its standard output alone. Secrets go in by `env` or files, never by
        `command`, which every user of the machine can see.
        """
        with Path(log or os.devnull).open("wb") as log_file, self._not_interrupted():
            output = log_file if log else 2
            popen = subprocess.Popen(
                [str(word) for word in command],
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=stdout or output,
                stderr=output,
                start_new_session=True,
            )
            child = Child(name, popen, log)
            self._children.append(child)
        return child

    def wait(
        self,
        child: Child,
        *,
        timeout: float | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> int:
        """Waits for the end of a process; returns its exit status."""
        elapsed = Elapsed()
        deadline = time.monotonic() + timeout if timeout else None
        remember_at = time.monotonic()
        try:
            while not child.has_ended():
                now = time.monotonic()
                if deadline and now > deadline:
                    raise Failure(f"{child.name} took more than {timeout:.0f} s")
                if now >= remember_at:
                    self._remember_descendants()
                    remember_at = now + REMEMBER_SECONDS
                meanwhile()
                if child.log:
                    elapsed.draw(last_line(child.log))
                time.sleep(POLL_SECONDS)
        finally:
            elapsed.clear()
        return child.popen.wait()

    @contextmanager
    def _not_interrupted(self) -> Iterator[None]:
        """Holds signals back while a process is started but not yet known."""
        self._starting = True
        try:
            yield
        finally:
            self._starting = False
        if self._postponed is not None:
            raise Stopped(self._postponed)

    def _on_signal(self, signum: int, _frame: FrameType | None) -> None:
        if self._stopping:
            return
        self._stopping = True
        if self._starting:
            self._postponed = signum
        else:
            raise Stopped(signum)

    def _remember_descendants(self) -> dict[int, ProcessEntry]:
        """Adds the process groups of everything below the children to those that must end.

        A child's children may have made groups of their own, which a signal to the child's group
        does not reach, and which nothing leads to once the child itself has ended.
        """
        table = process_table()
        ours = {child.popen.pid for child in self._children if not child.has_ended()}
        grew = True
        while grew:
            below = {pid for pid, entry in table.items() if entry.parent in ours}
            grew = not below <= ours
            ours |= below
        self._groups |= {table[pid].group for pid in ours if pid in table}
        return table

    def _end_all(self) -> None:
        for signum, patience in (
            (signal.SIGTERM, TERMINATE_SECONDS),
            (signal.SIGKILL, KILL_SECONDS),
        ):
            self._remember_descendants()
            for group in self._groups:
                try:
                    os.killpg(group, signum)
                except (ProcessLookupError, PermissionError):
                    continue
            if self._have_ended_within(patience):
                return

    def _have_ended_within(self, patience: float) -> bool:
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            for child in self._children:
                child.popen.poll()  # reaps it
            living = {entry.group for entry in self._remember_descendants().values()}
            if not living & self._groups:
                return True
            time.sleep(POLL_SECONDS)
        return False


class ProcessEntry(NamedTuple):
    """A line of the system's process table."""

    parent: int
    group: int


def process_table() -> dict[int, ProcessEntry]:
    """Every living process of the machine by its id, zombies left out."""
    if not Path("/proc/self/stat").exists():
        return _process_table_of_ps()
    table = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            stat = (directory / "stat").read_text(errors="replace")
        except OSError:
            continue  # ended while we looked
        state, parent, group = stat[stat.rindex(")") + 1 :].split()[:3]
        if state != "Z":
            table[int(directory.name)] = ProcessEntry(int(parent), int(group))
    return table


def _process_table_of_ps() -> dict[int, ProcessEntry]:
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,pgid=,stat="], capture_output=True, text=True, check=True
    )
    rows = (line.split() for line in listing.stdout.splitlines())
    return {
        int(pid): ProcessEntry(int(parent), int(group))
        for pid, parent, group, state, *_ in rows
        if not state.startswith("Z")
    }


def wait_until_up(child: Child, port: int, path: str | None, *, timeout: float) -> None:
    """Waits until a server on this machine answers: to a GET of `path`, or to a connection."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if child.has_ended():
            raise Failure(
                f"{child.name} ended before it was up: {last_line(child.log)}", output_of(child)
            )
        try:
            if path is None:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            else:
                direct.open(f"http://127.0.0.1:{port}{path}", timeout=1).close()
        except OSError:
            time.sleep(POLL_SECONDS)
        else:
            return
    raise Failure(f"{child.name} was not up after {timeout:.0f} s", output_of(child))


def output_of(child: Child) -> str:
    """Where to read what a process printed."""
    return f"its output is in {shown(child.log)}" if child.log else "its output is above"


def last_line(log: Path | None, *, tail_bytes: int = 2000) -> str:
    """The last line of a log that says anything; empty without one."""
    lines = last_lines(log, 1, tail_bytes=tail_bytes)
    return lines[0].strip() if lines else ""


def last_lines(log: Path | None, count: int, *, tail_bytes: int = 20_000) -> list[str]:
    """The last lines of a log that say anything."""
    if log is None or not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - tail_bytes))
        text = file.read().decode(errors="replace")
    return [line for line in text.splitlines() if line.strip()][-count:]
