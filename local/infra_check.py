"""`make infra-check`: all that can be known of `infra/` without an account.

What a machine lacks, Terraform or its AWS provider, is named in a line and left out; the rest must
pass.
"""

import os
import re
import shutil
import sys

from console import Failure, detail, reporting_failures, step
from processes import ending_processes, run
from terraform import INFRA, MIRROR, ProviderMissing, Terraform
from tools import INFRASTRUCTURE
from workspace import LOCAL, enter, shown

SKIP = re.compile(r"#\s*checkov:skip=(\w+)(:\s*\S.*)?")


def main() -> int:
    """Checks one thing after the other; returns the exit status."""
    enter()
    with ending_processes():
        if shutil.which("terraform"):
            check_with_terraform()
        else:
            detail("left out, since terraform is not installed: fmt, validate, test, variables")
        step("checkov")
        for path in sorted(INFRA.glob("*.tf")):
            for check, reason in SKIP.findall(path.read_text(encoding="utf-8")):
                if not reason:
                    raise Failure(f"{shown(path)}: {check} is skipped without a reason")
        checkov = [INFRASTRUCTURE.bin / "checkov", "--directory", "infra", "--quiet", "--compact"]
        run("checkov", [*checkov, "--framework", "terraform", "--skip-download"])
        step("Tests: policies with the real binary, variables, diagrams")
        run("cargo build", ["cargo", "build", "--quiet", "--locked", "--bin", "bootstrap"])
        python = [sys.executable, "-W", "ignore::ResourceWarning"]
        run(
            "the tests", [*python, "-m", "unittest", "discover", "--start-directory", "infra/tests"]
        )
    return 0


def check_with_terraform() -> None:
    """Formatting; then, with the provider, validity and Terraform's own tests."""
    step("Terraform: formatting, validity, tests")
    run("terraform fmt", ["terraform", "fmt", "-check", "-recursive", "-diff", "infra"])
    working_copy = Terraform(LOCAL / "infra-check", os.environ)
    try:
        detail(working_copy.init())
    except ProviderMissing:
        detail("left out, since the AWS provider can't be downloaded: terraform validate, test")
        detail(f"({MIRROR} names a mirror)")
        return
    working_copy.run("validate")
    detail(working_copy.run("test").strip().splitlines()[-1])


if __name__ == "__main__":
    sys.exit(reporting_failures(main))
