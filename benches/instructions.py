"""`make bench-instructions`: what callgrind counts, held against the committed figures.

Instructions do not depend on what else the machine does. They do depend on the compiler, and a little on the processor,
whose special instructions the cryptography library uses.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from console import Failure, detail, reporting_failures, step
from workspace import LOCAL, clean_environment, enter

import contestants as built
from contestants import Contestants

COMMITTED = Path(__file__).with_name("instructions.json")
MOST_GROWTH = 0.05
FOLDER = LOCAL / "bench"


def main() -> int:
    """Counts and compares; `--commit` writes the figures instead."""
    built.check_machine(valgrind=True, peer=False)
    enter()
    contestants = built.build(clean_environment(os.environ), others=False)
    step("Counting instructions")
    counted = count(contestants)
    if "--commit" in sys.argv[1:]:
        COMMITTED.write_text(json.dumps(counted, indent=2) + "\n", encoding="utf-8")
        return 0
    committed = json.loads(COMMITTED.read_text(encoding="utf-8"))
    grown = []
    for name, figure in counted.items():
        growth = figure / committed[name] - 1
        detail(f"{name.replace('_', ' ')}: {figure:,} instructions, {growth:+.1%}")
        if growth > MOST_GROWTH:
            grown.append(name.replace("_", " "))
    if grown:
        raise Failure(
            f"more than {MOST_GROWTH:.0%} above {COMMITTED.name}: {', '.join(grown)}",
            "if that is worth it: make bench-instructions COMMIT=1, and say why in the commit",
        )
    return 0


def count(contestants: Contestants) -> dict[str, int]:
    """Instructions of start-up, of the harvest after it, and of a warm one, kernel left out."""
    start_up, one, three = (profile(contestants, harvests) for harvests in (0, 1, 3))
    return {
        "start_up": start_up,
        "first_harvest": one - start_up,
        "warm_harvest": (three - one) // 2,
    }


def profile(contestants: Contestants, harvests: int, program: str = "function") -> int:
    """Runs a contestant under callgrind for so many events; the instructions that it took."""
    output = FOLDER / f"callgrind-{program}-{harvests}.out"
    output.unlink(missing_ok=True)
    command = ["/usr/bin/env", "valgrind", "--tool=callgrind", f"--callgrind-out-file={output}"]
    task = {
        "command": [*command, *contestants.command(program)],
        "harvests": harvests,
    }
    job = {"folder": str(FOLDER), "task": {"profile": task}}
    run = subprocess.run(
        [contestants.driver, json.dumps(job)],
        check=False,
        env=built.bare_environment(),
        stdout=subprocess.DEVNULL,
    )
    if run.returncode != 0 or not output.exists():
        raise Failure("callgrind did not count", f"its output is in {FOLDER / 'contestant.log'}")
    lines = output.read_text(encoding="utf-8", errors="replace").splitlines()
    total = next(line for line in lines if line.startswith(("summary:", "totals:")))
    return int(total.split()[1])


if __name__ == "__main__":
    raise SystemExit(reporting_failures(main))
