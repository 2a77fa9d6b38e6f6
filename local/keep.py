"""What becomes of a grant when the user's own definition is harvested: its successor goes into a file.

Many servers replace a refresh token with each use. A local run sends the definition's to the real server, and its
emulated AWS ends with it: without a file to keep the new one in, the authorization would be lost.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, final

from console import Failure, Stopped, error, hint
from workspace import LOCAL, keep_path, shown

if TYPE_CHECKING:
    from aws import Emulator

CREDENTIALS = ("refresh_token", "access_token")
"""Fields of a definition whose value a server may replace when it is used."""
PACKED = "sources"
LEASE_SECONDS = 30.0
"""How long a run that was broken off may go on saving; one that crashed leaves its lease behind."""
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
        if isinstance(definition, Members):
            credentials = [member for member in definition if member[0] in CREDENTIALS]
            if credentials:
                found.setdefault(source, []).extend(credentials)
    return found


@final
class Keep:
    """The file that `KEEP` names, in a run with the user's own definition.

    In its `with` block the file is claimed: it is there, empty, and goes again if nothing is kept.
    """

    def __init__(self, source: Path, name: str) -> None:
        """Refuses what would lose a grant, or overwrite a file. Nothing is written yet."""
        text = source.read_text(encoding="utf-8")
        self._source = source
        self._packed = PACKED in json.loads(text)
        self._former = credentials_in(text, name)
        self._path = keep_path()
        self._kept: list[tuple[str, str]] = []
        self._problem = ""
        self.is_asked = False
        """Whether the function has been sent the event."""
        self.report: Mapping[str, Any] | None = None
        """What it answered."""
        if self._path:
            check_new(self._path)
        elif self._former:
            held = next(iter(self._former.values()))[0][0]
            raise Failure(
                f"SOURCE: {shown(source)} holds {an(held)}, and a server that replaces it at each use would leave you "
                "with a dead one: say with KEEP=new-file.json where the one that comes in its place is to be kept",
                "not a grant that a deployment has refreshed: the definition's is used up by then, and sending it again "
                "may revoke the whole authorization; authorize anew for tests",
            )

    def __enter__(self) -> Keep:
        if self._path:
            claim(self._path)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._path and not self._kept and is_empty(self._path):
            self._path.unlink()

    @property
    def is_wanted(self) -> bool:
        """Whether there is a file to keep something in."""
        return self._path is not None

    def save(self, emulator: Emulator) -> None:
        """Keeps the credentials that came, however the run went. What goes wrong is said by `tell`."""
        if not self._path or not self.is_asked:
            return
        try:
            self._save(emulator)
        except Stopped:
            self._save(emulator)  # there is only one such signal a run
            raise

    def _save(self, emulator: Emulator) -> None:
        try:
            wait_for_leases(emulator)
            came = self._new(emulator.grants())
        except Failure as failure:
            self._problem = f"what came from the server could not be read: {failure}"
            return
        if not came:
            return
        document: dict[str, Any] = {PACKED: came} if self._packed else next(iter(came.values()))
        text = json.dumps(document, indent=2) + "\n"
        assert self._path
        try:
            write_over(self._path, text)
        except OSError as problem:
            self._problem = f"KEEP: cannot write {shown(self._path)}: {problem.strerror}"
            self._path.unlink(missing_ok=True)
            self._path = write_new(LOCAL, "kept-", text)
        self._kept = [(source, field) for source, fields in came.items() for field in fields]

    def _new(self, grants: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """What the function saved that is not in the definition."""
        came: dict[str, dict[str, Any]] = {}
        for source, grant in grants.items():
            for field in CREDENTIALS:
                if field in grant and (field, grant[field]) not in self._former.get(source, ()):
                    came.setdefault(source, {})[field] = grant[field]
        return came

    def tell(self) -> int:
        """Says what was kept and what to do with it; returns the exit status."""
        if self._problem:
            error(self._problem)
        if self._kept and self._path:
            self._tell_kept(self._path)
        self._tell_missing()
        return 1 if self._problem else 0

    def _tell_kept(self, path: Path) -> None:
        which = ", ".join(f"{field} of {source}" for source, field in self._kept)
        hint(f"{shown(path)} holds what came: {which}; only you can read it")
        hint(
            f"put it into the definition in place of the old one, in {shown(self._source)} and wherever else that "
            "is in use, then delete the file: the old one may be refused from now on"
        )
        if any(field == "access_token" for _, field in self._kept):
            hint(
                "an access_token that was exchanged for this one needs another grant_type now: docs/providers.md"
            )

    def _tell_missing(self) -> None:
        if not self._former or not self._path or self._problem:
            return
        kept = {source for source, _ in self._kept}
        where = f"in {shown(self._source)}"
        if self.is_asked and self.report is None:
            if not kept:
                hint(
                    f"no new credential came, and the run ended without an answer: the one {where} may be used up"
                )
            return
        unsure = [line for line in unsettled(self.report) if line["source"] not in kept]
        for line in unsure:
            code = (line["error"] or {}).get("code", line["outcome"])
            hint(
                f"no new credential of {line['source']} came, and it ended with {code}: whether the one {where} "
                "still works is not known"
            )
        if not kept and not unsure:
            hint(f"no new credential came: the one {where} stays good, and there is no file")


def an(field: str) -> str:
    """A field's name with its article."""
    return f"an {field}" if field[0] in "aeiou" else f"a {field}"


def unsettled(report: Mapping[str, Any] | None) -> Sequence[Mapping[str, Any]]:
    """The sources that sent a request and have no token from it."""
    lines = report["sources"] if report else ()
    return [
        line for line in lines if line["attempts"] and line["outcome"] not in ("refreshed", "fresh")
    ]


def wait_for_leases(emulator: Emulator) -> None:
    """Waits while a run that was broken off still holds a source: it may yet save a credential."""
    deadline = time.monotonic() + LEASE_SECONDS
    while emulator.leases() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def check_new(path: Path) -> None:
    """Refuses, before anything is requested, a file that could not be made."""
    if path.is_dir():
        raise Failure(f"KEEP: {shown(path)} is a folder: name a new file in it")
    if os.path.lexists(path):
        raise Failure(
            f"KEEP: {shown(path)} is there already and is not overwritten: name a new file"
        )
    if not path.parent.is_dir():
        raise Failure(f"KEEP: there is no folder {shown(path.parent)}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise Failure(f"KEEP: no file can be made in the folder {shown(path.parent)}")


def claim(path: Path) -> None:
    """Makes the file, empty, for its owner alone: from now on the name is taken."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        check_new(path)
        raise
    except OSError as problem:
        raise Failure(f"KEEP: cannot make {shown(path)}: {problem.strerror}") from None


def is_empty(path: Path) -> bool:
    """Whether it is a file without content."""
    return path.is_file() and path.stat().st_size == 0


def write_over(path: Path, text: str) -> None:
    """Puts a whole file in the place of the claimed one."""
    draft = write_new(path.parent, f".{path.name}.", text)
    try:
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def write_new(folder: Path, prefix: str, text: str) -> Path:
    """Writes a new file that only its owner can read, down to the disk."""
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=prefix, suffix=".json")
    path = Path(name)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path
