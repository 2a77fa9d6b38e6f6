"""`make invoke-local`: the whole harvester on this machine, from nothing to a token.

This half runs on any Python 3 and prepares: it checks the machine and what the environment
variables `EVENT` (the event file), `SOURCE` (the user's own definition) and `KEEP` (a new file for
the credential that replaces the definition's) name, installs the tools into `.local/venv`, and then
becomes the other half, `harvest.py`, on that environment's Python.
With `--tools-only` it ends once the tools are there, for whoever else needs them; with
`--infra-tools-only` those of the infrastructure's checks and diagrams, in `.local/infra-venv`; with
`--aws-tools-only` the AWS command, which the runbook's commands are tested with, in `.local/aws-venv`.
"""

import os
import sys

MINIMUM_PYTHON = (3, 10)  # what moto needs
TOOLS_ONLY = "--tools-only"
INFRA_TOOLS_ONLY = "--infra-tools-only"
AWS_TOOLS_ONLY = "--aws-tools-only"


def main() -> int:
    """Prepares, and becomes the other half; returns an exit status if that cannot be."""
    if os.name != "posix":
        return refuse("the local run needs Linux or macOS; on Windows it works inside WSL")
    if sys.version_info < MINIMUM_PYTHON:
        wanted, found = (".".join(map(str, v)) for v in (MINIMUM_PYTHON, sys.version_info[:2]))
        return refuse(
            f"Python {wanted} or newer is needed and python3 is {found}: "
            "install a newer one and put it first on the PATH"
        )
    if sys.argv[1:] not in ([], [TOOLS_ONLY], [INFRA_TOOLS_ONLY], [AWS_TOOLS_ONLY]):
        return refuse(
            f"the only arguments are {TOOLS_ONLY}, {INFRA_TOOLS_ONLY} and {AWS_TOOLS_ONLY}; "
            "EVENT, SOURCE and KEEP are variables"
        )
    # Older interpreters could not even parse these.
    import console
    import tools

    if TOOLS_ONLY in sys.argv:
        return console.reporting_failures(tools.prepare)
    if INFRA_TOOLS_ONLY in sys.argv:
        return console.reporting_failures(lambda: tools.prepare(tools.INFRASTRUCTURE))
    if AWS_TOOLS_ONLY in sys.argv:
        return console.reporting_failures(lambda: tools.prepare(tools.AWS_CLI))
    return console.reporting_failures(tools.prepare_and_continue)


def refuse(sentence: str) -> int:
    """Says why nothing can be done here."""
    sys.stderr.write(f"error: {sentence}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
