"""The folder `.local`: what a run keeps for the next one, readable by its owner alone."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from console import Failure, detail

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"
DEFAULT_EVENT = "events/scheduled.json"
LOOPBACK = "127.0.0.1"

FOREIGN_PREFIXES = (
    "AWS_",
    "CARGO_LAMBDA_",
    "FLASK_",
    "MOCK_IDP_",
    "MOTO_",
    "NANOIDP_",
    "WERKZEUG_",
)
"""Environment variables that would steer the tools of a local run, or hand them real accounts."""
HARMLESS_PREFIXES = ("AWS_LC_",)
"""Exceptions: how the cryptography library is built."""
FOREIGN_NAMES = frozenset({
    # the function's own configuration
    "ALLOW_LOOPBACK_HTTP", "ENVIRONMENT", "MAX_CONCURRENCY", "RUNBOOK_URL", "SCHEDULE_INTERVAL",
    "SECRET_PREFIX", "STATE_BUCKET", "STATE_KMS_KEY_ID", "TOKEN_BUCKET", "TOKEN_KMS_KEY_ID",
    "TOPIC_ARN",
    # Python's and make's, meant for another interpreter and another make
    "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "VIRTUAL_ENV",
    "__PYVENV_LAUNCHER__",
})  # fmt: skip


def clean_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment that every child process starts from.

    Nothing of the user's AWS accounts is in it: no credentials, profile, region or endpoint, and
    no way to the files and the metadata service that hold them. Loopback is reached directly.
    """
    env = {
        name: value
        for name, value in inherited.items()
        if name not in FOREIGN_NAMES
        and (not name.startswith(FOREIGN_PREFIXES) or name.startswith(HARMLESS_PREFIXES))
    }
    direct = inherited.get("no_proxy") or inherited.get("NO_PROXY") or ""
    if direct != "*":
        direct = ",".join(filter(None, (direct, LOOPBACK, "localhost", "::1")))
    return env | {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": direct,
        "no_proxy": direct,
    }


def event_path() -> Path:
    """The event to send."""
    return Path(os.environ.get("EVENT") or DEFAULT_EVENT).absolute()


def source_path() -> Path | None:
    """The user's own definition, if the run is about one."""
    source = os.environ.get("SOURCE")
    return Path(source).absolute() if source else None


def keep_path() -> Path | None:
    """Where the credential is to be kept that comes in the place of the definition's."""
    keep = os.environ.get("KEEP")
    return Path(keep).absolute() if keep else None


def shown(path: Path) -> str:
    """A path as a person in the project's folder would type it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def enter() -> None:
    """Makes the folder, and makes sure that this run is alone in it until this process ends."""
    LOCAL.mkdir(mode=0o700, exist_ok=True)
    LOCAL.chmod(0o700)
    lock = os.open(LOCAL / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 20, 0).decode(errors="replace").strip()
        raise Failure(
            f"another local run is under way in this folder (process {holder}): wait until it ends"
        ) from None
    os.truncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    os.set_inheritable(lock, True)  # so that the lock outlives this program's `exec`


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read; a reader sees the old text or the new."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with open(draft, "x", encoding="utf-8", opener=_private) as file:
        file.write(text)
    draft.replace(path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def read_kept(path: Path) -> dict[str, Any] | None:
    """A JSON object that an earlier run kept; `None` if there is none, or it is damaged."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        kept = None
    if not isinstance(kept, dict):
        detail(f"{shown(path)} is damaged and left aside")
        return None
    return kept


@dataclass
class Settings:
    """What stays the same from run to run, so that a token can still be fresh in the next one."""

    ports: dict[str, int] = field(default_factory=dict)
    client_secrets: dict[str, str] = field(default_factory=dict)

    PATH = LOCAL / "settings.json"

    @classmethod
    def load(cls) -> Settings:
        try:
            return cls(**(read_kept(cls.PATH) or {}))
        except TypeError:
            return cls()

    def save(self) -> None:
        write_private(self.PATH, json.dumps(asdict(self), indent=2))

    def client_secret(self, client_id: str) -> str:
        """A made-up secret, the same in every run."""
        return self.client_secrets.setdefault(client_id, secrets.token_hex(20))

    def port(self, server: str) -> int:
        """A free port of this machine, the same as last time where that is still free."""
        former = self.ports.get(server, 0)
        port = _free_port(former)
        if former and port != former:
            detail(f"port {former} is in use, so the {server} moves to {port}")
        self.ports[server] = port
        return port


def _free_port(preferred: int) -> int:
    for candidate in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, candidate))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Failure(f"no port of {LOOPBACK} is free")
