"""What happened, told to a person on stdout."""

import json
import sys
from datetime import datetime, timezone
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

import aws

MOST = 30
"""How much is shown of anything that there can be hundreds of."""
COLOURS = {"refreshed": "green", "fresh": "cyan", "deferred": "yellow", "failed": "red"}

# A pipe has no width, and who reads from it wants whole lines.
page = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 200)


def show(report: dict[str, Any], token_bucket: str, queue: str) -> None:
    """Prints the report, the token documents and the messages."""
    sources, dry = report["sources"], report["dry_run"]
    counts = ", ".join(f"{report[outcome]} {outcome}" for outcome in COLOURS)
    what = "Dry run, nothing was requested or written. It would have been" if dry else "Harvested"
    say(Text(f"\n{what}: {counts}", "bold"))
    show_table(sources[:MOST])
    if len(sources) > MOST:
        say(f"... and {len(sources) - MOST} more sources")
    for source in [source for source in sources if source["error"]][:MOST]:
        error = source["error"]
        words = f" ({error['provider_error']})" if error.get("provider_error") else ""
        say(f"{source['source']}: {error['code']}: {error['message']}{words}")
    for warning in report.get("warnings", ()):
        about = f"{warning['source']}: " if warning.get("source") else ""
        say(Text.assemble(("warning:", "yellow"), f" {about}{warning['message']}"))
    if not dry:
        show_documents([source for source in sources if source["version_id"]], token_bucket)
        show_messages(aws.received_messages(queue))


def show_table(sources: list[dict[str, Any]]) -> None:
    """What became of each source."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="")
    for name in ("SOURCE", "OUTCOME", "GENERATION", "EXPIRES AT (UTC)", "", "ATTEMPTS", "ERROR"):
        table.add_column(name, overflow="fold", no_wrap=name not in ("SOURCE", "ERROR"))
    for source in sources:
        when = distance = ""
        if source["expires_at"]:
            moment = datetime.fromisoformat(source["expires_at"].replace("Z", "+00:00"))
            when, distance = f"{moment:%Y-%m-%d %H:%M}", distance_to(moment)
        table.add_row(
            source["source"],
            Text(source["outcome"], COLOURS[source["outcome"]]),
            str(source["generation"] or "-"),
            when or "-",
            distance,
            str(source["attempts"]),
            source["error"]["code"] if source["error"] else "-",
        )
    page.print(table)


def distance_to(moment: datetime) -> str:
    """How far away a moment is, such as `in 59 min`."""
    seconds = int((moment - datetime.now(timezone.utc)).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if abs(seconds) >= 2 * length or unit == "s":
            break
    amount = f"{abs(seconds) // length} {unit}"
    return f"in {amount}" if seconds >= 0 else f"{amount} ago"


def show_documents(sources: list[dict[str, Any]], bucket: str) -> None:
    """Where the tokens are, and what is in the first one's document but secrets."""
    if sources:
        say(Text("\nToken documents", "bold"))
    for source in sources[:MOST]:
        say(f"s3://{bucket}/tokens/{source['source']}.json\n  version {source['version_id']}")
    for source in sources[:1]:
        key, version = f"tokens/{source['source']}.json", source["version_id"]
        document = aws.document(bucket, key, VersionId=version)
        document["access_token"] = f"({len(document['access_token'])} characters, not shown)"
        document["extra"] = dict.fromkeys(document.get("extra", ()), "(not shown)")
        say(json.dumps(document, indent=2, ensure_ascii=False))


def show_messages(messages: list[dict[str, Any]]) -> None:
    """What a subscriber of the topic was told."""
    if not messages:
        say(Text("\nMessages: none, since no token changed or failed to", "bold"))
        return
    count = "a message" if len(messages) == 1 else f"{len(messages)} messages"
    say(Text(f"\nA subscriber of the topic received {count}", "bold"))
    for message in messages[:MOST]:
        attributes = sorted(message.get("MessageAttributes", {}).items())
        say(", ".join(f"{name}={attribute['Value']}" for name, attribute in attributes))
    if len(messages) > 1:
        say("The first:")
    say(json.dumps(json.loads(messages[0]["Message"]), indent=2, ensure_ascii=False))


def say(text: str | Text) -> None:
    """Prints lines, which a terminal may break but nobody cuts."""
    page.print(text, soft_wrap=True)
