"""`make invoke-local`: the whole harvester on this machine, from nothing to a token.

The environment variable `EVENT` names the event file, `SOURCE` the user's own definition, and
`KEEP` a new file for the credential that replaces the definition's.
"""

import os
import sys
from contextlib import nullcontext
from pathlib import Path

import authorization_server
import aws
import function
import summary
from add_source import SOURCE_NAME, read_definition, read_json
from console import Failure, hint, reporting_failures
from keep import PACKED, Keep
from processes import ending_processes
from workspace import enter, shown


def main() -> int:
    """Looks at the user's files; harvests; says what has become of the user's grant."""
    event = Path(os.environ.get("EVENT") or "events/scheduled.json").absolute()
    read_json(event, "EVENT")
    source = Path(os.environ["SOURCE"]).absolute() if os.environ.get("SOURCE") else None
    if not source and os.environ.get("KEEP"):
        raise Failure("KEEP is for a run with SOURCE: without one no credential is at stake")
    keep = Keep(source, secret_of(source)) if source else None
    enter()
    status = reporting_failures(lambda: harvest(event, source, keep))
    return (keep.tell() if keep else 0) or status


def secret_of(source: Path) -> str:
    """The name of the secret that the user's file stands for."""
    definition = read_definition(source, "SOURCE")
    if SOURCE_NAME.fullmatch(source.stem):
        return source.stem
    if PACKED in definition:
        return "definitions"  # each has its own name in it
    raise Failure(
        f"SOURCE: the file's name becomes that of the source, and {source.stem!r} cannot be one",
        f"name it like `acme-crm.json`: before .json {SOURCE_NAME.pattern}",
    )


def harvest(event: Path, source: Path | None, keep: Keep | None) -> int:
    """Builds, starts, harvests, tells; returns the exit status."""
    with ending_processes(), keep or nullcontext(), aws.refusals_as_failures():
        function.build()
        if source:
            secrets = {secret_of(source): source.read_text(encoding="utf-8")}
        else:
            secrets = authorization_server.start()
        aws.start()
        aws.furnish(secrets)
        if not source:
            aws.restore_objects()
        url = function.start(aws.function_environment())
        if keep:
            keep.is_asked = True
        try:
            report = function.invoke(url, event, see_it_through=bool(keep and keep.path))
            if keep:
                keep.report = report
        finally:  # whatever has come of it, what must not be lost is kept
            if keep:
                keep.save(aws)
            else:
                aws.keep_objects()
        summary.show(report, aws.TOKEN_BUCKET, aws.QUEUE)
    if source:
        hint("neither the definition nor the token was kept")
    else:
        if report["refreshed"] and not report["dry_run"]:
            hint("run it again: the tokens are `fresh` then, since they are kept in .local")
        if report["fresh"]:
            hint("`make invoke-local EVENT=events/force.json` refreshes even what is fresh")
        hint("`make invoke-local SOURCE=my-source.json` harvests from your own definition")
    if report["failed"]:
        hint(f"the function's log lines are in {shown(function.LOG)}")
    return 0


if __name__ == "__main__":
    sys.exit(reporting_failures(main))
