"""`make infra-local`: `infra/` from nothing to nothing, in the AWS emulator.

Read `run` from top to bottom. The AWS provider is the one that a deployment has; the function runs
with the environment that Terraform gave it, in the role that Terraform gave it, with IAM enforced.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import authorization_server
import aws
import function
import summary
from add_source import DEPLOYMENT
from console import Failure, detail, hint, reporting_failures, step
from processes import Processes
from terraform import FUNCTION_ZIP, INFRA, MIRROR, ProviderMissing, Terraform
from workspace import LOCAL, ROOT, Settings, clean_environment, enter, event_path, write_private

WORK = LOCAL / "infra-local"
SERVER = INFRA / "tests" / "emulator.py"
ADD_SOURCE = Path(__file__).with_name("add_source.py")
SERVICES = (
    "cloudwatch", "iam", "kms", "lambda", "logs", "s3", "scheduler", "secretsmanager", "sns", "sqs",
    "sts",
)  # fmt: skip
VARIABLES = {
    "alert_emails": ["on-call@example.com"],
    "region": aws.REGION,
    "environment": "local",
    "function_zip": f"./{FUNCTION_ZIP}",
    "additional_schedules": {
        "before-work": {"expression": "cron(30 5 ? * MON-FRI *)", "sources": ["acme-crm"]}
    },
    "reader_sources": ["acme-crm"],
    "job_queue": True,
    "delete_data_on_destroy": True,
}
NOT_KEPT = {
    "aws_lambda_function": "logging_config",
    "aws_s3_bucket_lifecycle_configuration": "rule",
}
"""What the emulator forgets of a resource, so that Terraform would set it again."""


def run() -> int:
    """Applies, plans again, harvests, destroys; returns the exit status."""
    if not shutil.which("terraform"):
        raise Failure("terraform is missing: install 1.11 or newer, and open a new shell")
    enter()
    env = clean_environment(os.environ)
    settings = Settings.load()
    with Processes() as processes:
        function.build(processes, env)
        definitions = authorization_server.start(processes, settings, env)
        emulator = aws.start(processes, settings, env, server=[SERVER])
        try:
            deployment = Deployment(processes, emulator, env)
            deployment.apply()
            deployment.plan_again()
            for name, text in definitions.items():
                deployment.add_source(name, text)
            deployment.harvest(settings)
            deployment.destroy()
        except aws.EMULATOR_ERRORS as problem:
            raise aws.refused(problem) from problem
    return 0


class Deployment:
    """`infra/` in the emulator."""

    def __init__(
        self, processes: Processes, emulator: aws.Emulator, env: Mapping[str, str]
    ) -> None:
        self._processes, self._emulator = processes, emulator
        self._env = {
            **env,
            **aws.ACCESS_KEYS,
            "AWS_REGION": aws.REGION,
            "AWS_ENDPOINT_URL": emulator.endpoint,
        }
        self._terraform = Terraform(processes, WORK, self._env)
        self._outputs: dict[str, Any] = {}
        folder = self._terraform.folder
        (folder / "emulator_override.tf.json").write_text(json.dumps(self._override()))
        (folder / "terraform.tfvars.json").write_text(json.dumps(VARIABLES))

    def apply(self) -> None:
        step("Applying infra/ to it")
        try:
            self._terraform.init()
        except ProviderMissing:
            raise Failure(
                "the AWS provider can't be downloaded",
                f"{MIRROR} names a filesystem mirror that has it",
            ) from None
        said = self._terraform.run("apply", "-input=false", "-auto-approve")
        detail(_line(said, "Apply complete!"))
        answer = json.loads(self._terraform.run("output", "-json"))
        self._outputs = {name: output["value"] for name, output in answer.items()}

    def plan_again(self) -> None:
        step("Planning again: nothing should change")
        self._terraform.run("plan", "-input=false", "-out=again.tfplan")
        plan = json.loads(self._terraform.run("show", "-json", "again.tfplan"))
        unexpected = []
        for address, arguments in _changes(plan):
            kind = address.partition(".")[0]
            if arguments == {NOT_KEPT.get(kind)}:
                detail(f"but for {address}: {NOT_KEPT[kind]}, which the emulator does not keep")
            else:
                unexpected.append(f"{address}: {', '.join(sorted(map(str, arguments)))}")
        if unexpected:
            raise Failure("Terraform would change what it has just made: " + "; ".join(unexpected))

    def add_source(self, name: str, text: str) -> None:
        step(f"make add-source NAME={name}")
        definition = WORK / "definition.json"
        write_private(definition, text)
        where = {"NAME": name, "FILE": str(definition), DEPLOYMENT: str(self._terraform.folder)}
        command = [sys.executable, ADD_SOURCE]
        child = self._processes.start("add-source", command, env={**self._env, **where}, cwd=ROOT)
        status = self._processes.wait(child)
        definition.unlink()
        if status != 0:
            raise Failure("the source was not put: see above")

    def harvest(self, settings: Settings) -> None:
        """Runs the function as Terraform made it: its environment, its role's credentials."""
        role = self._emulator.client("iam").get_role(RoleName="token-harvester-function")["Role"]
        taken = self._emulator.client("sts").assume_role(
            RoleArn=role["Arn"], RoleSessionName="harvest"
        )["Credentials"]
        environment = {
            **self._env,
            **self._outputs["function_environment"],
            "ALLOW_LOOPBACK_HTTP": "1",
            "AWS_ACCESS_KEY_ID": taken["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": taken["SecretAccessKey"],
            "AWS_SESSION_TOKEN": taken["SessionToken"],
        }
        function.start(self._processes, settings, environment)
        self._enforce_iam("0")
        try:
            report = function.invoke(self._processes, settings, self._env, event_path())
        finally:
            self._enforce_iam("inf")
        self._emulator.token_bucket = self._outputs["function_environment"]["TOKEN_BUCKET"]
        self._emulator.queue_url = self._outputs["job_queue_url"]
        summary.show(report, self._emulator, datetime.now(timezone.utc))
        if report["failed"]:
            raise Failure("a source failed in the role that Terraform gave the function")

    def destroy(self) -> None:
        step("Destroying everything")
        said = self._terraform.run("destroy", "-input=false", "-auto-approve")
        detail(_line(said, "Destroy complete!"))
        left = sorted(self._left())
        if left:
            raise Failure(f"something is left: {', '.join(left)}")
        detail("nothing is left in the emulator but the secrets, which are not Terraform's,")
        detail("and keys that wait for their deletion, as in AWS")
        hint("`make deploy` does the same to your account; infra/README.md says how")

    def _left(self) -> Iterator[str]:
        """Names of whatever Terraform's services still have."""
        listings: tuple[tuple[str, str, str, str | None], ...] = (
            ("s3", "list_buckets", "Buckets", "Name"),
            ("sns", "list_topics", "Topics", "TopicArn"),
            ("sns", "list_subscriptions", "Subscriptions", "SubscriptionArn"),
            ("sqs", "list_queues", "QueueUrls", None),
            ("lambda", "list_functions", "Functions", "FunctionName"),
            ("iam", "list_roles", "Roles", "RoleName"),
            ("logs", "describe_log_groups", "logGroups", "logGroupName"),
            ("scheduler", "list_schedules", "Schedules", "Name"),
            ("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
            ("cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"),
        )
        for service, operation, members, name in listings:
            for found in getattr(self._emulator.client(service), operation)().get(members, ()):
                yield f"{service} {found[name] if name else found}"
        kms = self._emulator.client("kms")
        for key in kms.list_keys()["Keys"]:
            state = kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"]
            if state != "PendingDeletion":
                yield f"kms {key['KeyId']} ({state})"

    def _enforce_iam(self, after_calls: str) -> None:
        request = urllib.request.Request(
            f"{self._emulator.endpoint}/moto-api/reset-auth",
            after_calls.encode(),
            {"Content-Type": "text/plain"},  # a form would be taken apart
        )
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        direct.open(request, timeout=10).close()

    def _override(self) -> dict[str, Any]:
        return {
            "provider": {
                "aws": {
                    "access_key": aws.ACCESS_KEYS["AWS_ACCESS_KEY_ID"],
                    "secret_key": aws.ACCESS_KEYS["AWS_SECRET_ACCESS_KEY"],
                    "s3_use_path_style": True,
                    "skip_credentials_validation": True,
                    "skip_metadata_api_check": "true",
                    "endpoints": [dict.fromkeys(SERVICES, self._emulator.endpoint)],
                }
            }
        }


def _changes(plan: Mapping[str, Any]) -> Iterator[tuple[str, set[str | None]]]:
    """What a plan would change: each resource's address, and the arguments that differ."""
    for resource in plan.get("resource_changes", ()):
        change = resource["change"]
        if change["actions"] in (["no-op"], ["read"]):
            continue
        before, after = change["before"] or {}, change["after"] or {}
        names = before.keys() | after.keys()
        yield resource["address"], {name for name in names if before.get(name) != after.get(name)}


def _line(said: str, beginning: str) -> str:
    return next((line for line in said.splitlines() if line.startswith(beginning)), beginning)


if __name__ == "__main__":
    sys.exit(reporting_failures(run))
