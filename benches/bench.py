"""`make bench`: builds the contestants, measures them in one run, and writes what came of it."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import aws
from console import Failure, detail, reporting_failures, step
from processes import ending_processes
from workspace import LOCAL, clean_environment, enter

import contestants as built
import instructions
import results
from contestants import Contestants

ROUNDS = 21
WARM_HARVESTS = 20
SOURCES = (1, 10, 100, 1_000, 10_000)
GROWTH_ROUNDS = 3
AT_ONCE = 32
"""The function's default `MAX_CONCURRENCY`."""
REQUESTS_ROUNDS = 5
TOKEN_ENDPOINT_MS = 100
"""What a token request takes at an authorization server across the internet, or less."""


def main() -> int:
    """Measures everything; returns 0 also where a goal is missed: the results say so."""
    built.check_machine(valgrind=True)
    enter()
    env = clean_environment(os.environ)
    contestants = built.build(env)
    machine = results.machine(contestants)
    try_with_emulator(contestants)

    step(f"Comparing: {ROUNDS} rounds, each with a cold start and {WARM_HARVESTS} warm harvests")
    names = ("bare", "function", "peer")
    entries = [{"name": name, **contestants.entry(name)} for name in names]
    compared = drive(
        contestants,
        {"compare": {"contestants": entries, "rounds": ROUNDS, "warm": WARM_HARVESTS}},
    )
    function = contestants.command("function")
    requests = {}
    for delay_ms in (TOKEN_ENDPOINT_MS, 0):
        step(f"1,000 sources beside 1,000 token requests, each answered after {delay_ms} ms")
        task = {
            "function": function,
            "requests": contestants.command("requests"),
            "sources": 1_000,
            "at_once": AT_ONCE,
            "rounds": REQUESTS_ROUNDS,
            "delay_ms": delay_ms,
        }
        requests[delay_ms] = drive(contestants, {"requests": task})
    step("Growing from 1 to 10,000 sources")
    growth = drive(
        contestants,
        {
            "grow": {
                "function": function,
                "sources": SOURCES,
                "rounds": GROWTH_ROUNDS,
                "delay_ms": TOKEN_ENDPOINT_MS,
            }
        },
    )
    step("Counting instructions")
    counted = instructions.count(contestants)
    results.write(results.Measured(machine, contestants, compared, requests, growth, counted))
    return 0


def drive(contestants: Contestants, task: dict[str, Any]) -> Any:
    """Lets the driver do a task; what it measured."""
    job = {"folder": str(LOCAL / "bench"), "task": task}
    run = subprocess.run(
        [contestants.driver, json.dumps(job)],
        check=False,
        stdout=subprocess.PIPE,
        env=built.bare_environment(),
    )
    if run.returncode != 0:
        raise Failure(
            "the driver could not measure; its reason is above",
            f"a contestant's last output is in {LOCAL / 'bench' / 'contestant.log'}",
        )
    return json.loads(run.stdout)


def try_with_emulator(contestants: Contestants) -> None:
    """Both harvests work with moto, too: what they are measured with is no figment."""
    with ending_processes():
        aws.start()
        task = {
            "contestants": [
                {"name": "function", **contestants.entry("function"), "event": {}},
                {"name": "peer", **contestants.entry("peer"), "event": {"force": True}},
            ]
        }
        environment = {
            "AWS_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"],
            "TOKEN_BUCKET": aws.TOKEN_BUCKET,
            "STATE_BUCKET": aws.STATE_BUCKET,
            "TOPIC_ARN": aws.TOPIC_ARN,
        }
        job = {
            "folder": str(LOCAL / "bench"),
            "environment": environment,
            "task": {"harvest": task},
        }
        driver = subprocess.Popen(
            [contestants.driver, json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=built.bare_environment(),
            text=True,
        )
        assert driver.stdin and driver.stdout
        aws.furnish({"acme-crm": driver.stdout.readline()})
        output, _ = driver.communicate("\n")
        if driver.returncode != 0:
            raise Failure("a harvest with the AWS emulator failed; the reason is above")
        of_function, of_peer = json.loads(output)
        versions = [of_function["sources"][0]["version_id"], of_peer["version_id"]]
        for generation, version in enumerate(versions, start=1):
            stored = aws.document(aws.TOKEN_BUCKET, "tokens/acme-crm.json", VersionId=version)
            if stored["generation"] != generation:
                raise Failure(f"the AWS emulator holds no token of generation {generation}")
        attributes = [message["MessageAttributes"] for message in aws.received_messages()]
        told = [found["event"]["Value"] for found in attributes]
        if told != ["token.refreshed"] * 2:
            raise Failure(f"the AWS emulator's subscriber was told {told}")
    detail("function and peer each stored a token there and told a subscriber")


if __name__ == "__main__":
    raise SystemExit(reporting_failures(main))
