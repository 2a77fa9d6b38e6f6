"""`make infra-check`: all that can be known of `infra/` without an account.

What a machine lacks, Terraform or its AWS provider, is named in a line and left out; the rest must
pass.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import terraform
from console import Failure, detail, reporting_failures, step
from function import BINARY
from processes import Processes
from tools import INFRASTRUCTURE
from workspace import LOCAL, ROOT, clean_environment, enter, shown

WORK = LOCAL / "infra-check"
SKIP = re.compile(r"#\s*checkov:skip=(\w+)(:\s*\S.*)?")


def run() -> int:
    """Checks one thing after the other; returns the exit status."""
    enter()
    env = clean_environment(os.environ)
    with Processes() as processes:
        if shutil.which("terraform"):
            check_with_terraform(processes, env)
        else:
            detail("left out: terraform fmt, validate, test and the variables' rules")
            detail("          (terraform is not installed)")
        check_for_misconfiguration(processes, env)
        test(processes, env)
    return 0


def check_with_terraform(processes: Processes, env: dict[str, str]) -> None:
    """Formatting; then, with the provider, validity and Terraform's own tests."""
    step("Terraform: formatting, validity, tests")
    succeed(
        processes,
        env,
        "terraform fmt",
        ["terraform", "fmt", "-check", "-recursive", "-diff", "infra"],
    )
    working_copy = terraform.Terraform(processes, WORK, env)
    try:
        working_copy.init()
    except terraform.ProviderMissing:
        detail(
            "left out: terraform validate and test (the AWS provider can't be downloaded; "
            f"{terraform.MIRROR} names a mirror)"
        )
        return
    detail(working_copy.versions())
    working_copy.run("validate")
    passed = working_copy.run("test")
    detail(passed.strip().splitlines()[-1])


def check_for_misconfiguration(processes: Processes, env: dict[str, str]) -> None:
    """Checkov; and every check that it is told to skip has a reason."""
    step("checkov")
    for path in sorted(terraform.INFRA.glob("*.tf")):
        for check, reason in SKIP.findall(path.read_text(encoding="utf-8")):
            if not reason:
                raise Failure(f"{shown(path)}: {check} is skipped without a reason")
    succeed(
        processes,
        env,
        "checkov",
        [INFRASTRUCTURE.bin / "checkov", "--directory", "infra", "--framework", "terraform",
         "--quiet", "--compact", "--skip-download"],
    )  # fmt: skip


def test(processes: Processes, env: dict[str, str]) -> None:
    """The policies with the real binary, the variables' rules, the diagrams."""
    step("Tests: policies with the real binary, variables, diagrams")
    succeed(
        processes, env, "cargo build", ["cargo", "build", "--quiet", "--locked", "--bin", BINARY]
    )
    succeed(
        processes,
        env,
        "the tests",
        [sys.executable, "-W", "ignore::ResourceWarning", "-m", "unittest", "discover",
         "--start-directory", "infra/tests"],
    )  # fmt: skip


def succeed(
    processes: Processes, env: dict[str, str], name: str, command: Sequence[str | Path]
) -> None:
    """Runs a command whose output is shown."""
    if processes.wait(processes.start(name, command, env=env, cwd=ROOT)) != 0:
        raise Failure(f"{name} failed: see above")


if __name__ == "__main__":
    sys.exit(reporting_failures(run))
