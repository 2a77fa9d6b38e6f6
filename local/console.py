"""What a person reads: steps, errors and hints on stderr. Results are printed to stdout."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Failure(Exception):
    """Something that a person can act on: one sentence, and hints what to do."""

    def __init__(self, sentence: str, *hints: str) -> None:
        super().__init__(sentence)
        self.hints = hints


class Stopped(BaseException):
    """A signal asked the run to end. No `Exception`, so no library swallows it."""


def stop(signum: int, _frame: object) -> None:
    """Raises `Stopped`, once: what has to be put in order then must not be interrupted."""
    for each in STOP_SIGNALS:
        signal.signal(each, lambda *_: None)
    raise Stopped(signum)


def reporting_failures(run: Callable[[], int]) -> int:
    """Runs a program; what goes wrong becomes a sentence and an exit status."""
    for signum in STOP_SIGNALS:
        signal.signal(signum, stop)
    try:
        return run()
    except Failure as failure:
        error(str(failure), *failure.hints)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for the flush at exit
    except OSError as problem:
        place = f"{problem.filename}: " if problem.filename else ""
        error(f"{place}{problem.strerror or problem}")
    except Stopped as stopped:
        say("stopped: everything that was started has ended")
        return 128 + int(stopped.args[0])
    return 1


def step(text: str) -> None:
    """Announces a step."""
    say(f"{paint('==>', '1;34')} {paint(text, '1')}")


def detail(text: str) -> None:
    """Adds to the step that was announced last."""
    say(f"    {text}")


def error(sentence: str, *hints: str) -> None:
    """Says what went wrong, and what to do next."""
    say(f"{paint('error:', '1;31')} {sentence}")
    for each in hints:
        hint(each)


def hint(sentence: str) -> None:
    """Says what to do next."""
    say(f"{paint('hint:', '1;32')} {sentence}")


def say(line: str) -> None:
    """Writes a line to stderr."""
    print(line, file=sys.stderr, flush=True)


def paint(text: str, code: str) -> str:
    """Colours text where stderr is a terminal that shows colours."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if plain or not sys.stderr.isatty() else f"\033[{code}m{text}\033[0m"
