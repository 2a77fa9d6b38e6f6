"""The function: built by cargo, run by `cargo lambda watch`, which plays Lambda."""

import json
import re
import sys
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import processes
from console import Failure, Stopped, detail, step
from workspace import LOCAL, shown, write_private

LOG = LOCAL / "function.log"
REPORT = LOCAL / "report.json"
INVOKE_SECONDS = 900.0
"""As long as AWS lets any function run."""
PATIENCE_SECONDS = 300.0
"""How long a stopped run waits for an answer that may hold a credential: longer than a source."""
ENDED = re.compile(r"^\s*ERROR command (exited|killed|stopped|ended)", re.MULTILINE)
"""What `cargo lambda watch` logs when the function ends by itself; it answers nothing then."""


def build() -> None:
    """Builds the function, with cargo's own progress shown."""
    step("Building the function")
    processes.run("cargo build", ["cargo", "build", "--locked", "--bin", "bootstrap"])


def start(env: Mapping[str, str]) -> str:
    """Starts the local stand-in for Lambda; returns the address to call the function at.

    It is to start the function only then (`--wait`): an error in the function's start-up is
    reported to a caller who waits, and lost without one.
    """
    step("Starting the function")
    port = processes.free_port(18103)
    command = [
        Path(sys.executable).with_name("cargo-lambda"), "lambda", "watch", "--bin", "bootstrap",
        "--wait", "--ignore-changes", "--disable-cors", "--invoke-address", "127.0.0.1",
        "--invoke-port", port,
    ]  # fmt: skip
    processes.start_server("cargo lambda watch", command, port, LOG, env=env)
    detail(f"http://127.0.0.1:{port}, its log lines go to {shown(LOG)}")
    return f"http://127.0.0.1:{port}/2015-03-31/functions/bootstrap/invocations"


def invoke(url: str, event: Path, *, see_it_through: bool = False) -> dict[str, Any]:
    """Sends the event to the function; returns its report.

    With `see_it_through` a signal ends it only once the function has answered, or can't be waited
    for.
    """
    step(f"Sending {shown(event)}")
    began, body = time.monotonic(), event.read_bytes()
    answer = ThreadPoolExecutor().submit(lambda: str(urlopen(url, body).read(), "utf-8"))
    try:
        wait_for(answer)
    except (Stopped, OSError):  # the second where the terminal is gone
        if see_it_through:
            with suppress(OSError):
                detail("stopping once the function has answered: a credential may be on its way")
            wait([answer], PATIENCE_SECONDS)
        raise
    write_private(REPORT, answer.result())
    report: dict[str, Any] = json.loads(answer.result())
    if "errorMessage" in report:
        raise failure(f"{report.get('errorType')}: {report['errorMessage']}")
    if "sources" not in report:
        raise failure(f"it answered something else than a report, see {shown(REPORT)}")
    seconds = time.monotonic() - began
    detail(f"answered after {seconds:.1f} s, the whole report is in {shown(REPORT)}")
    return report


def wait_for(answer: Future[str]) -> None:
    """Waits until the function has answered, or ended without."""
    for _ in processes.polls(LOG, INVOKE_SECONDS):
        if answer.done() and answer.exception():
            raise failure(f"no answer came: {answer.exception()}")
        if answer.done():
            return
        if ENDED.search(LOG.read_text(errors="replace")):
            raise failure("it ended without an answer")
    raise failure(f"it took more than {INVOKE_SECONDS:.0f} s")


def failure(message: str) -> Failure:
    """Shows the end of the log, and makes the sentence about it."""
    detail(f"the last lines of {shown(LOG)}:")
    for line in processes.last_lines(LOG, 12):
        detail(f"  {line}")
    return Failure(f"the function failed: {message}", f"all its log lines are in {shown(LOG)}")
