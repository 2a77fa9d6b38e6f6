"""What becomes of a grant when the user's own definition is harvested: its successor is kept.

Many servers replace a refresh token with each use. A local run sends the definition's to the real
server, and its emulated AWS ends with it: without a file to keep the new one in, the authorization
would be lost.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from botocore.exceptions import BotoCoreError, ClientError

from console import Failure, Stopped, error, hint
from workspace import LOCAL, shown, write_private

PACKED = "sources"
"""Member of a definition that holds several, by name."""
CREDENTIALS = ("refresh_token", "access_token")
"""Fields of a definition whose value a server may replace when it is used."""
LEASE_SECONDS = 30.0
"""How long a run that was broken off may go on saving; a crashed one leaves its lease behind."""
POLL_SECONDS = 0.2


class Members(list[tuple[str, Any]]):
    """A JSON object as it is written: a member that stands twice is there twice."""


def credentials_in(text: str, name: str) -> dict[str, list[tuple[str, Any]]]:
    """The credentials in a definition, or in several packed ones, by name of the source."""
    written = json.loads(text, object_pairs_hook=Members)
    definitions = [(name, written)]
    for member, packed in written:
        if member == PACKED and isinstance(packed, Members):
            definitions += packed
    found: dict[str, list[tuple[str, Any]]] = {}
    for source, definition in definitions:
        for member in definition if isinstance(definition, Members) else ():
            if member[0] in CREDENTIALS:
                found.setdefault(source, []).append(member)
    return found


@final
class Keep:
    """The file that `KEEP` names, in a run with the user's own definition.

    In its `with` block the file is claimed: it is there, empty, and goes again if nothing is kept.
    """

    def __init__(self, source: Path, name: str) -> None:
        """Refuses what would lose a grant, or overwrite a file. Nothing is written yet."""
        text = source.read_text(encoding="utf-8")
        self.place = f"in {shown(source)}"
        self.path = Path(os.environ["KEEP"]).absolute() if os.environ.get("KEEP") else None
        self.packed = PACKED in json.loads(text)
        self.former = credentials_in(text, name)
        self.kept: list[tuple[str, str]] = []
        self.problem = ""
        self.is_asked = False  # whether the function has been sent the event
        self.report: Mapping[str, Any] | None = None  # what it answered
        if self.path:
            if self.path.is_dir():
                raise Failure(f"KEEP: {shown(self.path)} is a folder: name a new file in it")
            if os.path.lexists(self.path):
                raise Failure(f"KEEP: {shown(self.path)} is there already and is not overwritten")
            if not self.path.parent.is_dir():
                raise Failure(f"KEEP: there is no folder {shown(self.path.parent)}")
        elif self.former:
            held = next(iter(self.former.values()))[0][0]
            raise Failure(
                f"SOURCE: {shown(source)} holds {'an' if held[0] == 'a' else 'a'} {held}, and a "
                "server that replaces it at each use would leave you with a dead one: say with "
                "KEEP=new-file.json where the one that comes in its place is to be kept",
                "not a grant that a deployment has refreshed: the definition's is used up by then, "
                "and sending it again may revoke the whole authorization; authorize anew for tests",
            )

    def __enter__(self) -> Keep:
        try:
            if self.path:
                self.path.touch(mode=0o600, exist_ok=False)
        except OSError as problem:
            raise Failure(f"KEEP: cannot make {shown(self.path)}: {problem.strerror}") from None
        return self

    def __exit__(self, *_: object) -> None:
        if self.path and not self.kept and self.path.is_file() and not self.path.stat().st_size:
            self.path.unlink()

    def save(self, emulator: Any) -> None:
        """Keeps the credentials that came, however the run went; `tell` says what went wrong."""
        try:
            self._save(emulator)
        except Stopped:
            self._save(emulator)  # there is only one such signal a run
            raise

    def _save(self, emulator: Any) -> None:
        if not self.path or not self.is_asked:
            return
        came: dict[str, dict[str, Any]] = {}
        try:
            # While a source is held, a run that was broken off may yet save a credential.
            deadline = time.monotonic() + LEASE_SECONDS
            while emulator.leases() and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            for source, grant in emulator.grants().items():
                for field in CREDENTIALS:
                    if field in grant and (field, grant[field]) not in self.former.get(source, ()):
                        came.setdefault(source, {})[field] = grant[field]
        except (BotoCoreError, ClientError) as problem:
            self.problem = f"what came from the server could not be read: {problem}"
        if not came:
            return
        document = {PACKED: came} if self.packed else next(iter(came.values()))
        text = json.dumps(document, indent=2) + "\n"
        try:
            write_private(self.path, text)
        except OSError as problem:
            self.problem = f"KEEP: cannot write {shown(self.path)}: {problem.strerror}"
            self.path.unlink(missing_ok=True)
            self.path = LOCAL / f"kept-{secrets.token_hex(4)}.json"
            write_private(self.path, text)
        self.kept = [(source, field) for source, fields in came.items() for field in fields]

    def tell(self) -> int:
        """Says what was kept and what to do with it; returns the exit status."""
        if self.problem:
            error(self.problem)
        if self.kept and self.path:
            which = ", ".join(f"{field} of {source}" for source, field in self.kept)
            hint(f"{shown(self.path)} holds what came: {which}; only you can read it")
            hint(
                f"put it into the definition in place of the old one, {self.place} and wherever "
                "else that is in use, then delete the file: the old one may be refused from now on"
            )
            if any(field == "access_token" for _, field in self.kept):
                hint(
                    "an access_token that was exchanged for this one needs another grant_type now: "
                    "docs/providers.md"
                )
        if self.former and self.path and not self.problem:
            kept = {source for source, _ in self.kept}
            unsure = [
                line["source"]
                for line in (self.report["sources"] if self.report else ())
                if line["attempts"] and line["outcome"] not in ("refreshed", "fresh")
                if line["source"] not in kept
            ]
            if unsure or self.is_asked and not self.report and not kept:
                whose = f" of {', '.join(unsure)}" if unsure else ""
                hint(
                    f"no new credential{whose} came, and there was trouble: whether the one "
                    f"{self.place} still works is not known"
                )
            elif not kept:
                hint(f"no new credential came: the one {self.place} stays good")
        return 1 if self.problem else 0
