"""`make tools`: makes a virtual environment in `.local`, unless it is there and up to date.

It is the first thing that runs on a machine, so it needs nothing but Python. `harvest` is what the
local run, tests and builds need; `infra` the infrastructure's checks and diagrams; `aws` the AWS
command, with which the runbook's commands are tested.
"""

import hashlib
import importlib.util
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

OLDEST_PYTHON = (3, 10)  # that moto runs on; older ones can read this file, but not those below
if os.name != "posix":
    sys.exit("error: the local run needs Linux or macOS; on Windows it works inside WSL")
if sys.version_info < OLDEST_PYTHON:
    sys.exit("error: Python 3.10 or newer is needed: install it and put it first on the PATH")

from console import Failure, detail, reporting_failures, step
from workspace import LOCAL, enter, shown

LOG = LOCAL / "pip.log"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")


class Tools(NamedTuple):
    """A virtual environment, and what it is made from."""

    venv: Path
    requirements: Path
    size: str

    @property
    def bin(self) -> Path:
        return self.venv / "bin"


HARVEST = Tools(LOCAL / "venv", REQUIREMENTS, "0.8 GB")
INFRASTRUCTURE = Tools(
    LOCAL / "infra-venv", REQUIREMENTS.with_name("requirements-infra.txt"), "0.5 GB"
)
AWS_CLI = Tools(LOCAL / "aws-venv", REQUIREMENTS.with_name("requirements-aws.txt"), "0.2 GB")


def run() -> int:
    """Checks the machine and installs the tools that are asked for."""
    if not shutil.which("cargo"):
        raise Failure("cargo is missing: install Rust (rustup) and open a new shell")
    if not shutil.which("cc"):
        raise Failure(
            "a C compiler (cc) is missing: install one (Debian, Ubuntu: apt install gcc libc6-dev; "
            "Fedora: dnf install gcc; macOS: xcode-select --install)"
        )
    if not importlib.util.find_spec("ensurepip"):
        raise Failure(
            "Python's venv module is missing: install it (Debian, Ubuntu: apt install python3-venv)"
        )
    tools = {"harvest": HARVEST, "infra": INFRASTRUCTURE, "aws": AWS_CLI}[sys.argv[1]]
    if not is_installed(tools):
        enter()
        install(tools)
    return 0


def is_installed(tools: Tools) -> bool:
    """Whether the virtual environment is there, complete and up to date."""
    stamp = tools.venv / "complete"
    complete = stamp.exists() and stamp.read_text() == expected_stamp(tools)
    return complete and os.access(tools.bin / "python", os.X_OK)


def expected_stamp(tools: Tools) -> str:
    """What the environment was made from; it cannot be moved, nor outlive its interpreter."""
    digest = hashlib.sha256(tools.requirements.read_bytes()).hexdigest()
    return f"{digest} {platform.python_version()} {tools.venv}\n"


def install(tools: Tools) -> None:
    """Makes the virtual environment anew."""
    step(f"Installing the Python tools into {shown(tools.venv)} (once, {tools.size})")
    began = time.monotonic()
    pip = [tools.bin / "python", "-m", "pip", "install", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", tools.venv],
        [*pip, "--no-input", "--progress-bar", "off", "--requirement", tools.requirements],
    ):
        with LOG.open("w") as log:
            child = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            while child.poll() is None:
                time.sleep(0.2)
                if sys.stderr.isatty():
                    seconds = f"    {time.monotonic() - began:.0f} s\r"
                    print(seconds, end="", file=sys.stderr, flush=True)
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGTERM)  # what pip has started, too
                child.wait()
        if child.returncode != 0:
            said = LOG.read_text(errors="replace").splitlines() or ["no reason was given"]
            errors = [line for line in said if line.lower().startswith("error")] or said
            where = f"the first run needs a network; the output is in {shown(LOG)}"
            raise Failure(f"the Python tools could not be installed: {errors[-1]}", where)
    (tools.venv / "complete").write_text(expected_stamp(tools))
    detail(f"done in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    sys.exit(reporting_failures(run))
