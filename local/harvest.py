"""The second half of a local run: everything is installed, now the function harvests.

Read `run` from top to bottom. It runs on the Python of `.local/venv`, with an environment that
holds nothing of the user's AWS accounts, alone in this folder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import authorization_server
import aws
import function
import summary
from console import Failure, error, hint, reporting_failures
from keep import Keep
from processes import Processes
from tools import source_name
from workspace import Settings, event_path, shown, source_path

FORCE_EVENT = "events/force.json"


def main() -> int:
    """Harvests; then says what has become of the user's grant, however that went."""
    source = source_path()
    try:
        keep = Keep(source, source_name(source)) if source else None
    except (Failure, OSError) as problem:
        error(str(problem))
        return 1
    status = reporting_failures(lambda: run(source, keep))
    return (keep.tell() if keep else 0) or status


def run(source: Path | None, keep: Keep | None) -> int:
    """Builds, starts, harvests, tells; returns the exit status."""
    env = dict(os.environ)
    settings = Settings.load()
    with Processes() as processes, keep or nullcontext():
        function.build(processes, env)
        if source:
            secrets = {source_name(source): source.read_text(encoding="utf-8")}
        else:
            secrets = authorization_server.start(processes, settings, env)
        emulator = aws.start(processes, settings, env)
        try:
            emulator.furnish(secrets)
            if not source:
                emulator.restore_objects()
            function.start(processes, settings, {**env, **emulator.function_environment()})
            report = invoke(processes, settings, env, emulator, keep)
            summary.show(report, emulator, datetime.now(timezone.utc))
        except aws.EMULATOR_ERRORS as problem:
            raise aws.refused(problem) from problem
    give_hints(report, source)
    return 0


def invoke(
    processes: Processes,
    settings: Settings,
    env: Mapping[str, str],
    emulator: aws.Emulator,
    keep: Keep | None,
) -> dict[str, Any]:
    """Sends the event; whatever comes of that, keeps what must not be lost."""
    if not keep:
        try:
            return function.invoke(processes, settings, env, event_path())
        finally:
            emulator.keep_objects()
    try:
        keep.is_asked = True
        keep.report = function.invoke(
            processes, settings, env, event_path(), see_it_through=keep.is_wanted
        )
        return keep.report
    finally:
        keep.save(emulator)


def give_hints(report: Mapping[str, Any], source: Path | None) -> None:
    """Says what to try next."""
    if source:
        hint("neither the definition nor the token was kept")
    else:
        if report["refreshed"] and not report["dry_run"]:
            hint("run it again: the tokens are `fresh` then, since they are kept in .local")
        if report["fresh"]:
            hint(f"`make invoke-local EVENT={FORCE_EVENT}` refreshes even what is fresh")
        hint("`make invoke-local SOURCE=my-source.json` harvests from your own definition")
    if report["failed"]:
        hint(f"the function's log lines are in {shown(function.LOG)}")


if __name__ == "__main__":
    sys.exit(main())
