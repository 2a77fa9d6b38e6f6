"""The function: built by cargo, run by `cargo lambda watch`, called by `cargo lambda invoke`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from console import Elapsed, Failure, Stopped, detail, step
from processes import Child, Processes, last_lines, wait_until_up
from workspace import LOCAL, LOOPBACK, ROOT, Settings, shown

NAME = "function"
BINARY = "bootstrap"
CARGO_LAMBDA = Path(sys.executable).with_name("cargo-lambda")
LOG = LOCAL / "function.log"
INVOKE_LOG = LOCAL / "invoke.log"
REPORT = LOCAL / "report.json"

UP_SECONDS = 60.0
INVOKE_SECONDS = 900.0
"""As long as AWS lets any function run."""
PATIENCE_SECONDS = 300.0
"""How long a stopped run waits for an answer that may hold a credential: longer than a source takes."""
LOG_LINES = 200
SHOWN_LOG_LINES = 12

ENDED = re.compile(r"^\s*ERROR command (?:exited|killed|stopped|ended)", re.MULTILINE)
"""What `cargo lambda watch` logs when the function ends by itself; it answers nothing then."""
STAND_IN_TALK = re.compile(r"\s*INFO ")
"""How the progress of `cargo lambda watch` itself looks in that log; the function writes JSON."""
ERROR_MARK = "\N{MULTIPLICATION SIGN} "
"""What stands before the message in what `cargo lambda invoke` prints about a failure."""
DRAWING = re.compile(r"[\u2500-\u25ff]+")
"""The lines and arrows that it draws around it."""


def build(processes: Processes, env: Mapping[str, str]) -> None:
    """Builds the function, with cargo's own progress shown."""
    step("Building the function")
    command = ["cargo", "build", "--locked", "--bin", BINARY]
    if processes.wait(processes.start("cargo build", command, env=env, cwd=ROOT)) != 0:
        raise Failure("the function does not build: see cargo's words above")


def start(processes: Processes, settings: Settings, env: Mapping[str, str]) -> Child:
    """Starts the local stand-in for Lambda, which runs the function once it is called.

    It is to start the function only then (`--wait`): an error in the function's start-up is
    reported to a caller who waits, and lost without one.
    """
    step("Starting the function")
    port = settings.port(NAME)
    settings.save()
    command = [
        CARGO_LAMBDA, "lambda", "watch", "--bin", BINARY, "--wait", "--ignore-changes",
        "--disable-cors", "--invoke-address", LOOPBACK, "--invoke-port", str(port),
    ]  # fmt: skip
    child = processes.start("cargo lambda watch", command, env=env, cwd=ROOT, log=LOG)
    wait_until_up(child, port, None, timeout=UP_SECONDS)
    detail(f"http://{LOOPBACK}:{port}, its log lines go to {shown(LOG)}")
    return child


def invoke(
    processes: Processes,
    settings: Settings,
    env: Mapping[str, str],
    event: Path,
    *,
    see_it_through: bool = False,
) -> dict[str, Any]:
    """Sends the event to the function; returns its report.

    With `see_it_through` a signal ends it only once the function has answered, or can't be waited for.
    """
    step(f"Sending {shown(event)}")
    elapsed = Elapsed()
    command = [
        CARGO_LAMBDA, "lambda", "invoke", "--data-file", event,
        "--invoke-address", LOOPBACK, "--invoke-port", str(settings.ports[NAME]),
    ]  # fmt: skip
    with REPORT.open("wb") as report:
        child = processes.start(
            "cargo lambda invoke", command, env=env, cwd=ROOT, log=INVOKE_LOG, stdout=report
        )
    try:
        status = processes.wait(child, timeout=INVOKE_SECONDS, meanwhile=_fail_if_ended)
    except (Stopped, OSError):  # the second where the terminal is gone
        if see_it_through:
            _wait_for_answer(child)
        raise
    answer = _parsed(REPORT.read_text(encoding="utf-8"))
    if status != 0:
        raise _failure(_invoke_error())
    if "errorMessage" in answer:
        raise _failure(f"{answer.get('errorType')}: {answer['errorMessage']}")
    if "sources" not in answer:
        raise _failure(f"it answered something else than a report, see {shown(REPORT)}")
    detail(f"answered after {elapsed}, the whole report is in {shown(REPORT)}")
    return answer


def _wait_for_answer(child: Child) -> None:
    with suppress(OSError):
        detail("stopping once the function has answered: a new credential may be on its way")
    with suppress(subprocess.TimeoutExpired):
        child.popen.wait(PATIENCE_SECONDS)


def _fail_if_ended() -> None:
    if ENDED.search(LOG.read_text(encoding="utf-8", errors="replace")):
        raise _failure("it ended without an answer")


def _parsed(text: str) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _invoke_error() -> str:
    text = INVOKE_LOG.read_text(encoding="utf-8", errors="replace")
    message, _, _ = text.rpartition(ERROR_MARK)[2].partition("\n\n")
    return " ".join(DRAWING.sub(" ", message).split())


def _failure(message: str) -> Failure:
    lines = [line for line in last_lines(LOG, LOG_LINES) if not STAND_IN_TALK.match(line)]
    detail(f"the last lines of {shown(LOG)}:")
    for line in lines[-SHOWN_LOG_LINES:]:
        detail(f"  {line.rstrip()}")
    return Failure(f"the function failed: {message}", f"all its log lines are in {shown(LOG)}")
