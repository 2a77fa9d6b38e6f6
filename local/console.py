"""What a person sees: progress, errors and hints on stderr, the summary on stdout."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

SPINNER_SECONDS = 1.0
"""How often the line that shows time passing is redrawn."""


class Failure(Exception):
    """Something that a person can act on: one sentence, and hints what to do."""

    def __init__(self, sentence: str, *hints: str) -> None:
        super().__init__(sentence)
        self.hints = hints


class Stopped(BaseException):
    """A signal asked the run to end. No `Exception`, so no library swallows it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def reporting_failures(run: Callable[[], int]) -> int:
    """Runs one half of the program; what goes wrong becomes a sentence and an exit status."""
    try:
        return run()
    except Failure as failure:
        error(str(failure))
        for sentence in failure.hints:
            hint(sentence)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 1
    except OSError as problem:
        place = f"{problem.filename}: " if problem.filename else ""
        error(f"{place}{problem.strerror or problem}")
        return 1
    except (Stopped, KeyboardInterrupt) as stopped:
        say("stopped: everything that was started has ended")
        return 128 + getattr(stopped, "signum", 2)


def step(text: str) -> None:
    """Announces a step."""
    say(f"{paint('==>', '1;34', sys.stderr)} {paint(text, '1', sys.stderr)}")


def detail(text: str) -> None:
    """Adds to the step that was announced last."""
    say(f"    {text}")


def error(sentence: str) -> None:
    """Says what went wrong."""
    say(f"{paint('error:', '1;31', sys.stderr)} {sentence}")


def hint(sentence: str) -> None:
    """Says what to do next."""
    say(f"{paint('hint:', '1;32', sys.stderr)} {sentence}")


def say(line: str) -> None:
    """Writes a line to stderr, after everything that stdout has been given."""
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    print(line, file=sys.stderr, flush=True)


def paint(text: str, code: str, stream: TextIO) -> str:
    """Colours text where the stream is a terminal that shows colours."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    return text if plain else f"\033[{code}m{text}\033[0m"


class Elapsed:
    """The time since a wait began, redrawn on one line of a terminal; silent elsewhere."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._drawn_at = 0.0

    def draw(self, activity: str = "") -> None:
        """Redraws the line, at most once a second."""
        now = time.monotonic()
        if not sys.stderr.isatty() or now - self._drawn_at < SPINNER_SECONDS:
            return
        self._drawn_at = now
        line = f"    {self}  {activity}"[: shutil.get_terminal_size().columns - 1]
        sys.stderr.write(f"\r\033[K{line}")
        sys.stderr.flush()

    def clear(self) -> None:
        """Takes the line away again."""
        if self._drawn_at:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
            self._drawn_at = 0.0

    def __str__(self) -> str:
        seconds = time.monotonic() - self._started
        if seconds < 10:
            return f"{seconds:.1f} s"
        return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
