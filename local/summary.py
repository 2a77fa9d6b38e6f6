"""What happened, told to a person on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from aws import Emulator, Message
from console import paint

SHOWN_SOURCES = 30
SHOWN_DOCUMENTS = 5
SHOWN_MESSAGES = 10
OUTCOME_COLOURS = {"refreshed": "32", "fresh": "36", "deferred": "33", "failed": "31"}
HEADINGS = ("SOURCE", "OUTCOME", "GENERATION", "EXPIRES AT (UTC)", "", "ATTEMPTS", "ERROR")


def show(report: dict[str, Any], emulator: Emulator, now: datetime) -> None:
    """Prints the report, the token documents and the messages."""
    _show_counts(report)
    _show_sources(report["sources"], now)
    _show_troubles(report)
    if not report.get("dry_run"):
        _show_documents(report["sources"], emulator)
        _show_messages(emulator.received_messages())


def _show_counts(report: dict[str, Any]) -> None:
    counts = ", ".join(f"{report[outcome]} {outcome}" for outcome in OUTCOME_COLOURS)
    if report.get("dry_run"):
        _show_heading(f"Dry run, nothing was requested or written. It would have been: {counts}")
    else:
        _show_heading(f"Harvested: {counts}")


def _show_sources(sources: Sequence[dict[str, Any]], now: datetime) -> None:
    if not sources:
        return
    rows = [HEADINGS, *(_row(source, now) for source in sources[:SHOWN_SOURCES])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        line = "  ".join(cells).rstrip()
        colour = OUTCOME_COLOURS.get(row[1])
        if colour:
            start = widths[0] + 2
            end = start + len(row[1])
            line = line[:start] + paint(row[1], colour, sys.stdout) + line[end:]
        print(line)
    _show_rest(len(sources) - SHOWN_SOURCES, "sources")


def _row(source: dict[str, Any], now: datetime) -> tuple[str, ...]:
    expires_at = source["expires_at"] and datetime.fromisoformat(
        source["expires_at"].replace("Z", "+00:00")
    )
    return (
        source["source"],
        source["outcome"],
        str(source["generation"] or "-"),
        f"{expires_at:%Y-%m-%d %H:%M:%S}" if expires_at else "-",
        distance(expires_at, now) if expires_at else "",
        str(source["attempts"]),
        source["error"]["code"] if source["error"] else "-",
    )


def distance(moment: datetime, now: datetime) -> str:
    """How far away a moment is, such as `in 59 min`."""
    seconds = int((moment - now).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if abs(seconds) >= 2 * length or unit == "s":
            break
    amount = f"{abs(seconds) // length} {unit}"
    return f"in {amount}" if seconds >= 0 else f"{amount} ago"


def _show_troubles(report: dict[str, Any]) -> None:
    """The errors' and warnings' sentences, which fit into no table."""
    troubled = [source for source in report["sources"] if source["error"]]
    for source in troubled[:SHOWN_SOURCES]:
        error = source["error"]
        words = f" ({error['provider_error']})" if error.get("provider_error") else ""
        print(f"{source['source']}: {error['code']}: {error['message']}{words}")
    _show_rest(len(troubled) - SHOWN_SOURCES, "errors")
    for warning in report.get("warnings", ()):
        about = f"{warning['source']}: " if warning.get("source") else ""
        print(f"{paint('warning:', '33', sys.stdout)} {about}{warning['message']}")


def _show_documents(sources: Iterable[dict[str, Any]], emulator: Emulator) -> None:
    stored = [source for source in sources if source["version_id"]]
    if not stored:
        return
    _show_heading("Token documents")
    first = None
    for source in stored[:SHOWN_DOCUMENTS]:
        found = emulator.token_document(source["source"], source["version_id"])
        if found:
            location, document = found
            print(f"{location}  version {source['version_id']}")
            first = first or document
    _show_rest(len(stored) - SHOWN_DOCUMENTS, "documents")
    if first:
        print(json.dumps(redacted(first), indent=2, ensure_ascii=False))


def redacted(document: dict[str, Any]) -> dict[str, Any]:
    """A token document without the token, nor what the server added to it."""
    hidden: dict[str, Any] = {
        "access_token": f"({len(document['access_token'])} characters, not shown)"
    }
    if document.get("extra"):
        hidden["extra"] = dict.fromkeys(document["extra"], "(not shown)")
    return document | hidden


def _show_messages(messages: Sequence[Message]) -> None:
    if not messages:
        _show_heading("Messages: none, since no token changed or failed to")
        return
    count = "a message" if len(messages) == 1 else f"{len(messages)} messages"
    _show_heading(f"A subscriber of the topic received {count}")
    for message in messages[:SHOWN_MESSAGES]:
        attributes = (f"{name}={value}" for name, value in sorted(message.attributes.items()))
        print(", ".join(attributes))
    _show_rest(len(messages) - SHOWN_MESSAGES, "messages")
    if len(messages) > 1:
        print("The first:")
    print(_pretty(messages[0].body))


def _pretty(body: str) -> str:
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        return body


def _show_heading(text: str) -> None:
    print()
    print(paint(text, "1", sys.stdout))


def _show_rest(count: int, what: str) -> None:
    if count > 0:
        print(f"... and {count} more {what}")
