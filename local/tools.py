"""The first half: is all there that a local run needs, and the tools that it brings itself."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import sys
from pathlib import Path
from typing import NamedTuple, NoReturn

from console import Elapsed, Failure, detail, step
from keep import Keep
from processes import Processes, last_lines
from workspace import LOCAL, clean_environment, enter, event_path, keep_path, shown, source_path

LITTLE_SPACE_BYTES = 10_000_000
SECOND_HALF = Path(__file__).with_name("harvest.py")
PIP_LOG = LOCAL / "pip.log"

SECRET_BYTES = 65_536
SOURCE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Tools(NamedTuple):
    """A virtual environment, and what it is made from."""

    venv: Path
    requirements: Path
    size: str

    @property
    def bin(self) -> Path:
        return self.venv / "bin"

    @property
    def stamp(self) -> Path:
        return self.venv / "complete"


HARVEST = Tools(LOCAL / "venv", Path(__file__).with_name("requirements.txt"), "0.8 GB")
INFRASTRUCTURE = Tools(
    LOCAL / "infra-venv", Path(__file__).with_name("requirements-infra.txt"), "0.5 GB"
)
AWS_CLI = Tools(LOCAL / "aws-venv", Path(__file__).with_name("requirements-aws.txt"), "0.2 GB")


def prepare(tools: Tools = HARVEST) -> int:
    """Checks the machine and installs the tools; does nothing where they are there already."""
    check_machine()
    if not is_installed(tools):
        enter()
        install(tools, clean_environment(os.environ))
    return 0


def prepare_and_continue() -> NoReturn:
    """Checks the machine and the user's files, installs the tools, becomes the second half."""
    check_machine()
    check_json(event_path(), "EVENT")
    source = source_path()
    if source:
        check_source(source)
        Keep(source, source_name(source))
    elif keep_path():
        raise Failure("KEEP is for a run with SOURCE: without one no credential is at stake")
    enter()
    env = clean_environment(os.environ)
    if not is_installed(HARVEST):
        install(HARVEST, env)
    python = str(HARVEST.bin / "python")
    os.execve(python, [python, str(SECOND_HALF)], env)


def check_machine() -> None:
    """Fails with a sentence about the first thing that is missing."""
    if not shutil.which("cargo"):
        raise Failure("cargo is missing: install Rust (rustup) and open a new shell")
    if not shutil.which("cc"):
        raise Failure(
            "a C compiler (cc) is missing: install one "
            "(Debian, Ubuntu: apt install gcc libc6-dev; Fedora: dnf install gcc; "
            "macOS: xcode-select --install)"
        )
    if not all(map(importlib.util.find_spec, ("venv", "ensurepip"))):
        raise Failure(
            "Python's venv module is missing: install it (Debian, Ubuntu: apt install python3-venv)"
        )


def check_json(path: Path, variable: str) -> object:
    """The parsed file that a variable names."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Failure(f"{variable}: there is no file {shown(path)}") from None
    except OSError as problem:
        raise Failure(f"{variable}: cannot read {shown(path)}: {problem.strerror}") from None
    except json.JSONDecodeError as problem:
        # The message quotes nothing of the file, which may hold secrets.
        raise Failure(
            f"{variable}: {shown(path)} is not valid JSON: "
            f"{problem.msg} at line {problem.lineno}, column {problem.colno}"
        ) from None
    except UnicodeDecodeError:
        raise Failure(f"{variable}: {shown(path)} is not UTF-8 text") from None


def check_definition(path: Path, variable: str) -> dict[str, object]:
    """The definition in the file that a variable names; a secret can hold it."""
    definition = check_json(path, variable)
    if not isinstance(definition, dict):
        raise Failure(f"{variable}: {shown(path)} holds no JSON object")
    if path.stat().st_size > SECRET_BYTES:
        raise Failure(
            f"{variable}: {shown(path)} is larger than a secret can be, {SECRET_BYTES} bytes"
        )
    return definition


def check_source(path: Path) -> None:
    """Whether a file can stand for a secret: its name names the source, its text defines it."""
    definition = check_definition(path, "SOURCE")
    if "sources" not in definition and not SOURCE_NAME.fullmatch(path.stem):
        raise Failure(
            f"SOURCE: the file's name becomes that of the source, and {path.stem!r} cannot be one",
            f"name it like `acme-crm.json`: before .json {SOURCE_NAME.pattern}",
        )


def source_name(path: Path) -> str:
    """The name of the secret that a checked file stands for; a packed one's does not matter."""
    return path.stem if SOURCE_NAME.fullmatch(path.stem) else "definitions"


def is_installed(tools: Tools) -> bool:
    """Whether the virtual environment is there, complete and up to date."""
    complete = tools.stamp.exists() and tools.stamp.read_text() == expected_stamp(tools)
    return complete and os.access(tools.bin / "python", os.X_OK)


def install(tools: Tools, env: dict[str, str]) -> None:
    """Makes the virtual environment anew."""
    step(f"Installing the Python tools into {shown(tools.venv)} (once, {tools.size})")
    elapsed = Elapsed()
    shutil.rmtree(tools.venv, ignore_errors=True)
    with Processes() as processes:
        for name, command in (
            ("python3 -m venv", [sys.executable, "-m", "venv", tools.venv]),
            ("pip", [tools.bin / "python", "-m", "pip", "install",
                     "--requirement", tools.requirements, "--no-input", "--progress-bar", "off", "--disable-pip-version-check"]),
        ):  # fmt: skip
            child = processes.start(name, command, env=env, cwd=LOCAL, log=PIP_LOG)
            if processes.wait(child) != 0:
                if shutil.disk_usage(LOCAL).free < LITTLE_SPACE_BYTES:
                    raise Failure(f"the disk is full: {shown(tools.venv)} takes {tools.size}")
                raise Failure(
                    f"{name} failed, so the Python tools are not there: {reason()}",
                    f"the first run needs a network; the output is in {shown(PIP_LOG)}",
                )
    tools.stamp.write_text(expected_stamp(tools))
    detail(f"done in {elapsed}")


def expected_stamp(tools: Tools) -> str:
    """What the environment was made from; it cannot be moved, nor outlive its interpreter."""
    digest = hashlib.sha256(tools.requirements.read_bytes()).hexdigest()
    return f"{digest} {platform.python_version()} {tools.venv}\n"


def reason() -> str:
    """The line of pip's output that says why it failed."""
    lines = last_lines(PIP_LOG, 20)
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["no output"])[-1].strip()
