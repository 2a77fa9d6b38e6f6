"""`make infra-local`: `infra/` from nothing to nothing, in the AWS emulator.

Read `run` from top to bottom. The AWS provider is the one that Terraform installs, or finds in a
mirror, and is named; the function runs with the environment that Terraform gave it, in the role that
Terraform gave it, with IAM enforced. The emulator decides as infra/tests/iam.py says, which is a model
of AWS, and not AWS.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import boto3

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
DESTROY = Path(__file__).with_name("destroy.py")
SERVICES = (
    "cloudwatch", "iam", "kms", "lambda", "logs", "s3", "s3control", "scheduler", "secretsmanager",
    "sns", "sqs", "sts",
)  # fmt: skip
VARIABLES = {
    "alert_emails": ["on-call@example.com"],
    "region": aws.REGION,
    "environment": "local",
    "function_zip": f"./{FUNCTION_ZIP}",
    "additional_schedules": {
        "before-work": {
            "expression": "cron(30 5 ? * MON-FRI *)", "sources": ["acme-crm"], "force": True,
        }
    },
    "reader_sources": ["acme-crm"],
    "job_queue": True,
}  # fmt: skip
NOT_KEPT = {
    "aws_lambda_function": "logging_config",
    # Those of CreateBucket, by which the provider sets them from 6.23 on.
    "aws_s3_bucket": "tags_all",
}
"""What the emulator forgets of a resource, so that Terraform would set it again."""
HICCUP = "use of closed network connection"
"""What the provider says now and then of the emulator on a busy machine."""
SCHEDULED_TIME = '"<aws.scheduler.scheduled-time>"'


def run() -> int:
    """Applies, plans again, harvests, changes keys, destroys; returns the exit status."""
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
            deployment.harvest(settings, event_path())
            deployment.refuse_to_lose_data()
            deployment.change_keys()
            deployment.harvest(settings, ROOT / "events" / "force.json")
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
            # S3 Control has the account before the endpoint's host, which no resolver knows here;
            # loopback itself is reached directly.
            "HTTP_PROXY": emulator.endpoint,
            "http_proxy": emulator.endpoint,
        }
        self._terraform = Terraform(processes, WORK, self._env)
        self._outputs: dict[str, Any] = {}
        self._own_keys: dict[str, str] = {}
        folder = self._terraform.folder
        (folder / "emulator_override.tf.json").write_text(json.dumps(self._override()))
        if not (folder / "backend.tf").exists():
            (folder / "backend.tf").write_text(documented_backend())

    def apply(self, **variables: object) -> None:
        """Makes everything, or changes what other variables ask for."""
        step(f"Applying infra/ to it{', with other ' if variables else ''}{', '.join(variables)}")
        path = self._terraform.folder / "terraform.tfvars.json"
        path.write_text(json.dumps(VARIABLES | variables))
        try:
            self._terraform.init()
        except ProviderMissing:
            raise Failure(
                "the AWS provider can't be downloaded",
                f"{MIRROR} names a filesystem mirror that has it",
            ) from None
        detail(self._terraform.versions())
        words = ("apply", "-input=false", "-auto-approve")
        succeeded, said = self._terraform.attempt(*words)
        if not succeeded:
            if HICCUP not in said:
                raise self._terraform.failure("apply")
            detail("the emulator dropped a connection: once more")
            said = self._terraform.run(*words)
        detail(_line(said, "Apply complete!"))
        answer = json.loads(self._terraform.run("output", "-json"))
        self._outputs = {name: output["value"] for name, output in answer.items()}

    def plan_again(self) -> None:
        step("Planning again: nothing should change")
        schedules = self._emulator.client("scheduler")
        further = schedules.get_schedule(
            GroupName="token-harvester", Name="token-harvester-for-before-work"
        )
        if SCHEDULED_TIME not in further["Target"]["Input"]:
            raise Failure(f"Scheduler would not find its keyword in {further['Target']['Input']}")
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

    def harvest(self, settings: Settings, event: Path) -> None:
        """Runs the function as Terraform made it: its environment, its role's credentials."""
        environment = {
            **self._env,
            **self._outputs["function_environment"],
            **self._function_role(),
            "ALLOW_LOOPBACK_HTTP": "1",
        }
        function.start(self._processes, settings, environment)
        self._enforce_iam("0")
        try:
            report = function.invoke(self._processes, settings, self._env, event)
        finally:
            self._enforce_iam("inf")
        self._emulator.token_bucket = self._outputs["function_environment"]["TOKEN_BUCKET"]
        self._emulator.queue_url = self._outputs["job_queue_url"]
        summary.show(report, self._emulator, datetime.now(timezone.utc))
        if report["failed"]:
            raise Failure("a source failed in the role that Terraform gave the function")

    def refuse_to_lose_data(self) -> None:
        """Tries what must not begin while there are tokens and grants."""
        step("make destroy, with tokens and grants there: nothing should be touched")
        status, said = self._make_destroy()
        if status == 0 or "is not empty; nothing was begun" not in said:
            raise Failure(f"make destroy did not stop at the buckets:\n{said}")
        detail("it has looked, and not begun")
        for what, words in {
            "terraform destroy itself": ("destroy",),
            "a deployment under another name": ("apply", "-var=name=renamed", "-refresh=false"),
        }.items():
            succeeded, said = self._terraform.attempt(*words, "-input=false", "-auto-approve")
            if succeeded or "There may be tokens and grants" not in said:
                raise Failure(f"{what} was not stopped:\n{said}")
            detail(f"{what} is stopped, too")
        self.plan_again()

    def change_keys(self) -> None:
        """Own keys instead of those that were made; what those have encrypted stays readable."""
        kms = self._emulator.client("kms")
        made = {
            use: self._outputs["function_environment"][f"{use}_KMS_KEY_ID"]
            for use in ("TOKEN", "STATE")
        }
        there = {"Bucket": self._outputs["function_environment"]["STATE_BUCKET"]}
        grant = there | {"Key": "grants/written-before.json"}
        self._s3_of_the_function().put_object(
            **grant, Body=b"{}", ServerSideEncryption="aws:kms", SSEKMSKeyId=made["STATE"]
        )
        self._own_keys = {
            use: kms.create_key()["KeyMetadata"]["Arn"] for use in ("tokens", "state")
        }
        self.apply(kms_key_arns=self._own_keys)
        for use, key in made.items():
            state = kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"]
            if state != "Enabled":
                raise Failure(f"the {use} key that Terraform had made is now {state}")
        s3 = self._s3_of_the_function()
        self._enforce_iam("0")
        try:
            s3.get_object(**grant)
        finally:
            self._enforce_iam("inf")
        detail("the keys that were made are kept, and the function reads what they encrypted")

    def destroy(self) -> None:
        self.apply(kms_key_arns=self._own_keys, delete_data_on_destroy=True)
        step("make destroy, with delete_data_on_destroy: everything should go")
        status, said = self._make_destroy()
        if status != 0 and HICCUP in said:
            detail("the emulator dropped a connection: once more")
            status, said = self._make_destroy()
        if status != 0:
            raise Failure(f"make destroy failed:\n{said}")
        detail(_line(said, "Destroy complete!"))
        left = sorted(self._left())
        if left:
            raise Failure(f"something is left: {', '.join(left)}")
        detail("nothing is left in the emulator but the secrets and own keys, which are not")
        detail("Terraform's, and keys that wait for their deletion, as in AWS")
        hint("`make deploy` does the same to your account; infra/README.md says how")

    def _make_destroy(self) -> tuple[int, str]:
        """Runs what `make destroy` runs; returns its exit status and what it said."""
        log = WORK / "destroy.log"
        where = {
            DEPLOYMENT: str(self._terraform.folder),
            "TF_CLI_ARGS_destroy": "-no-color -input=false -auto-approve",
        }
        env = {**self._terraform.env, **where}
        child = self._processes.start(
            "make destroy", [sys.executable, DESTROY], env=env, cwd=ROOT, log=log
        )
        return self._processes.wait(child), log.read_text(encoding="utf-8")

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
            if state != "PendingDeletion" and key["KeyArn"] not in self._own_keys.values():
                yield f"kms {key['KeyId']} ({state})"

    def _function_role(self) -> dict[str, str]:
        """The environment of who has taken on the function's role."""
        role = self._emulator.client("iam").get_role(RoleName="token-harvester-function")["Role"]
        taken = self._emulator.client("sts").assume_role(
            RoleArn=role["Arn"], RoleSessionName="harvest"
        )["Credentials"]
        return {
            "AWS_ACCESS_KEY_ID": taken["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": taken["SecretAccessKey"],
            "AWS_SESSION_TOKEN": taken["SessionToken"],
        }

    def _s3_of_the_function(self) -> Any:
        role = self._function_role()
        return boto3.client(
            "s3",
            endpoint_url=self._emulator.endpoint,
            region_name=aws.REGION,
            aws_access_key_id=role["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=role["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=role["AWS_SESSION_TOKEN"],
        )

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
            # The emulator forgets how many old versions are kept, and from 5.95 on the provider
            # waits in vain until it reads what it has written.
            "locals": {"kept_newest": None},
            "provider": {
                "aws": {
                    "access_key": aws.ACCESS_KEYS["AWS_ACCESS_KEY_ID"],
                    "secret_key": aws.ACCESS_KEYS["AWS_SECRET_ACCESS_KEY"],
                    "s3_use_path_style": True,
                    "skip_credentials_validation": True,
                    "skip_metadata_api_check": "true",
                    "endpoints": [dict.fromkeys(SERVICES, self._emulator.endpoint)],
                }
            },
        }


def _changes(plan: Mapping[str, Any]) -> Iterator[tuple[str, set[str | None]]]:
    """What a plan would change: each resource's address, and the arguments that differ."""
    for resource in plan.get("resource_changes", ()):
        change = resource["change"]
        if change["actions"] in (["no-op"], ["read"]):
            continue
        before, after = change["before"] or {}, change["after"] or {}
        names = before.keys() | after.keys()
        different = {name for name in names if not _same(before.get(name), after.get(name))}
        if different or change["actions"] != ["update"]:
            yield resource["address"], different


def _same(before: object, after: object) -> bool:
    """Whether two values are the same; JSON is, however it is spaced."""
    if isinstance(before, str) and isinstance(after, str):
        try:
            return bool(json.loads(before) == json.loads(after))
        except ValueError:
            pass
    return before == after


def documented_backend() -> str:
    """The `backend.tf` that infra/README.md tells to write."""
    text = (INFRA / "README.md").read_text(encoding="utf-8")
    found = re.search(r"```hcl\n(terraform \{\n  backend .*?)```", text, re.DOTALL)
    if not found:
        raise Failure("infra/README.md no longer says what to write into backend.tf")
    return found[1]


def _line(said: str, beginning: str) -> str:
    return next((line for line in said.splitlines() if line.startswith(beginning)), beginning)


if __name__ == "__main__":
    sys.exit(reporting_failures(run))
