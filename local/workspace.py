"""The folder `.local`: what a run keeps for the next one, readable by its owner alone."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from console import Failure

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"

FOREIGN = re.compile(
    # What would steer the tools, or hand them real accounts; AWS_LC_ is how a library is built.
    r"(AWS_(?!LC_)|CARGO_LAMBDA_|FLASK_|MOCK_IDP_|MOTO_|NANOIDP_|WERKZEUG_).*"
    # The function's own configuration.
    r"|ALLOW_LOOPBACK_HTTP|ENVIRONMENT|MAX_CONCURRENCY|RUNBOOK_URL|SCHEDULE_INTERVAL|SECRET_PREFIX"
    r"|STATE_BUCKET|STATE_KMS_KEY_ID|TOKEN_BUCKET|TOKEN_KMS_KEY_ID|TOPIC_ARN"
    # Python's and make's, meant for another interpreter and another make.
    r"|MAKEFLAGS|MAKELEVEL|MFLAGS|PYTHON(HOME|PATH|STARTUP)|VIRTUAL_ENV|__PYVENV_LAUNCHER__"
)


def clean_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment that every child process starts from.

    Nothing of the user's AWS accounts is in it: no credentials, profile, region or endpoint, and
    no way to the files and the metadata service that hold them. Loopback is reached directly.
    """
    direct = inherited.get("no_proxy") or inherited.get("NO_PROXY") or ""
    if direct != "*":
        direct = ",".join(filter(None, (direct, "127.0.0.1", "localhost", "::1")))
    return {name: value for name, value in inherited.items() if not FOREIGN.fullmatch(name)} | {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": direct,
        "no_proxy": direct,
    }


def enter() -> None:
    """Makes this run the only one in the folder until it ends, and its environment clean."""
    LOCAL.mkdir(mode=0o700, exist_ok=True)
    LOCAL.chmod(0o700)
    lock = os.open(LOCAL / "lock", os.O_RDWR | os.O_CREAT, 0o600)  # held while it is open
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 20, 0).decode().strip()
        raise Failure(
            f"another local run is under way in this folder (process {holder}): wait until it ends"
        ) from None
    os.truncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    env = clean_environment(os.environ)
    os.environ.clear()
    os.environ.update(env)


def shown(path: Path) -> str:
    """A path as a person in the project's folder would type it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read; a reader sees the old text or the new."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
