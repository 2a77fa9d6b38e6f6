"""`make infra-local`: `infra/` from nothing to nothing, in the AWS emulator.

Read `run` from top to bottom. The AWS provider is the one that Terraform installs, or finds in a
mirror, and is named; the function runs with the environment that Terraform gave it, in the role
that Terraform gave it, with IAM enforced. The emulator decides as infra/tests/iam.py says, which
is a model of AWS, and not AWS.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3

import authorization_server
import aws
import function
import processes
import summary
from console import Failure, detail, hint, reporting_failures, step
from terraform import DEPLOYMENT, INFRA, Terraform
from workspace import LOCAL, ROOT, enter, write_private

WORK = LOCAL / "infra-local"
HERE = Path(__file__).parent
HICCUP = "use of closed network connection"
"""What the provider says now and then of the emulator on a busy machine."""
LISTINGS = """
    s3 list_buckets Buckets Name
    sns list_topics Topics TopicArn
    sns list_subscriptions Subscriptions SubscriptionArn
    sqs list_queues QueueUrls -
    lambda list_functions Functions FunctionName
    iam list_roles Roles RoleName
    logs describe_log_groups logGroups logGroupName
    scheduler list_schedules Schedules Name
    cloudwatch describe_alarms MetricAlarms AlarmName
    cloudwatch list_dashboards DashboardEntries DashboardName
"""
"""What could be left of Terraform's: service, operation, member of its answer, member of that."""


def run() -> int:
    """Applies, plans again, harvests, changes keys, destroys; returns the exit status."""
    if not shutil.which("terraform"):
        raise Failure("terraform is missing: install 1.11 or newer, and open a new shell")
    enter()
    with processes.ending_processes(), aws.refusals_as_failures():
        function.build()
        definitions = authorization_server.start()
        aws.start([INFRA / "tests" / "emulator.py"])
        terraform = working_copy()
        apply(terraform)
        plan_again(terraform)
        for name, text in definitions.items():
            add_source(terraform, name, text)
        event = Path(os.environ.get("EVENT") or "events/scheduled.json").absolute()
        harvest(terraform, event)
        refuse_to_lose_data(terraform)
        own_keys = change_keys(terraform)
        harvest(terraform, ROOT / "events" / "force.json")
        destroy(terraform, own_keys)
    return 0


def working_copy() -> Terraform:
    """`infra/` for the emulator, with the `backend.tf` that infra/README.md tells to write."""
    # S3 Control has the account before the endpoint's host, which no resolver knows here; loopback
    # itself is reached directly.
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    proxy = {"HTTP_PROXY": endpoint, "http_proxy": endpoint}
    terraform = Terraform(WORK, {**os.environ, **proxy, "AWS_REGION": aws.REGION})
    override = (HERE / "emulator_override.tf").read_text(encoding="utf-8")
    (terraform.folder / "emulator_override.tf").write_text(override.replace("ENDPOINT", endpoint))
    shutil.copy(HERE / "emulator.tfvars", terraform.folder / "terraform.tfvars")
    backend = terraform.folder / "backend.tf"
    if not backend.exists():
        text = (INFRA / "README.md").read_text(encoding="utf-8")
        found = re.search(r"```hcl\n(terraform \{\n  backend .*?)```", text, re.DOTALL)
        if not found:
            raise Failure("infra/README.md no longer says what to write into backend.tf")
        backend.write_text(found[1])
    return terraform


def apply(terraform: Terraform, **variables: Any) -> None:
    """Makes everything, or changes what other variables ask for."""
    step(f"Applying infra/ to it{', with other ' if variables else ''}{', '.join(variables)}")
    (terraform.folder / "changed.auto.tfvars.json").write_text(json.dumps(variables))
    detail(terraform.init())
    insist("apply", lambda: terraform.attempt("apply", "-input=false", "-auto-approve"))
    answer = json.loads(terraform.run("output", "-json"))
    terraform.outputs = {name: output["value"] for name, output in answer.items()}


def insist(what: str, act: Callable[[], tuple[bool, str]]) -> None:
    """Does what has to succeed; where the emulator dropped a connection, once more."""
    succeeded, said = act()
    if not succeeded and HICCUP in said:
        detail("the emulator dropped a connection: once more")
        succeeded, said = act()
    if not succeeded:
        raise Failure(f"{what} failed:\n{said}")
    detail(next(line for line in said.splitlines() if " complete! " in line))


def plan_again(terraform: Terraform) -> None:
    """What was made is what the files say, and Scheduler finds its keyword in it."""
    step("Planning again: nothing should change")
    name = {"GroupName": "token-harvester", "Name": "token-harvester-for-before-work"}
    schedule = aws.client("scheduler").get_schedule(**name)["Target"]["Input"]
    if '"<aws.scheduler.scheduled-time>"' not in schedule:
        raise Failure(f"Scheduler would not find its keyword in {schedule}")
    said = terraform.run("plan", "-input=false")
    if "\nPlan: " in said:
        changes = said[said.index("Terraform will perform") :]
        raise Failure(f"Terraform would change what it has just made:\n{changes}")


def add_source(terraform: Terraform, name: str, text: str) -> None:
    """Runs what `make add-source` runs."""
    step(f"make add-source NAME={name}")
    definition = WORK / "definition.json"
    write_private(definition, text)
    env = {"NAME": name, "FILE": str(definition), DEPLOYMENT: str(terraform.folder)}
    command = [sys.executable, HERE / "add_source.py"]
    succeeded = processes.succeeds(command, env={**os.environ, **env})
    definition.unlink()
    if not succeeded:
        raise Failure("the source was not put: see above")


def harvest(terraform: Terraform, event: Path) -> None:
    """Runs the function as Terraform made it: its environment, its role's credentials."""
    configured = terraform.outputs["function_environment"]
    role = {name.upper(): value for name, value in function_role().items()}
    settled = {"AWS_REGION": aws.REGION, "ALLOW_LOOPBACK_HTTP": "1"}
    url = function.start({**os.environ, **configured, **role, **settled})
    with iam_enforced():
        report = function.invoke(url, event)
    queue = terraform.outputs["job_queue_url"].rpartition("/")[2]
    summary.show(report, configured["TOKEN_BUCKET"], queue)
    if report["failed"]:
        raise Failure("a source failed in the role that Terraform gave the function")


def function_role() -> dict[str, str]:
    """What proves that somebody has taken on the function's role, in boto3's words."""
    role = aws.client("iam").get_role(RoleName="token-harvester-function")["Role"]
    taken = aws.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="harvest")
    return {
        "aws_access_key_id": taken["Credentials"]["AccessKeyId"],
        "aws_secret_access_key": taken["Credentials"]["SecretAccessKey"],
        "aws_session_token": taken["Credentials"]["SessionToken"],
    }


@contextmanager
def iam_enforced() -> Iterator[None]:
    """In its `with` block the emulator decides who may do what."""
    url = os.environ["AWS_ENDPOINT_URL"] + "/moto-api/reset-auth"
    plain = {"Content-Type": "text/plain"}
    first, never = (Request(url, number, plain) for number in (b"0", b"inf"))
    urlopen(first).close()
    try:
        yield
    finally:
        urlopen(never).close()


def refuse_to_lose_data(terraform: Terraform) -> None:
    """Tries what must not begin while there are tokens and grants."""
    step("make destroy, with tokens and grants there: nothing should be touched")
    succeeded, said = make_destroy(terraform)
    if succeeded or "is not empty; nothing was begun" not in said:
        raise Failure(f"make destroy did not stop at the buckets:\n{said}")
    detail("it has looked, and not begun")
    for what, words in {
        "terraform destroy itself": ("destroy",),
        "a deployment under another name": ("apply", "-var=name=renamed", "-refresh=false"),
    }.items():
        succeeded, said = terraform.attempt(*words, "-input=false", "-auto-approve")
        if succeeded or "There may be tokens and grants" not in said:
            raise Failure(f"{what} was not stopped:\n{said}")
        detail(f"{what} is stopped, too")
    plan_again(terraform)


def make_destroy(terraform: Terraform) -> tuple[bool, str]:
    """Runs what `make destroy` runs; returns whether it succeeded, and what it said."""
    log = WORK / "destroy.log"
    flags = {"TF_CLI_ARGS_destroy": "-input=false -auto-approve"}
    env = {**terraform.env, **flags, DEPLOYMENT: str(terraform.folder)}
    succeeded = processes.succeeds([sys.executable, HERE / "destroy.py"], log, env=env)
    return succeeded, log.read_text(encoding="utf-8")


def change_keys(terraform: Terraform) -> dict[str, str]:
    """Own keys instead of those that were made; what those have encrypted stays readable."""
    kms, configured = aws.client("kms"), terraform.outputs["function_environment"]
    made = {use: configured[f"{use}_KMS_KEY_ID"] for use in ("TOKEN", "STATE")}
    grant = {"Bucket": configured["STATE_BUCKET"], "Key": "grants/written-before.json"}
    encrypted = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": made["STATE"]}
    boto3.client("s3", **function_role()).put_object(**grant, Body=b"{}", **encrypted)
    own_keys = {use: kms.create_key()["KeyMetadata"]["Arn"] for use in ("tokens", "state")}
    apply(terraform, kms_key_arns=own_keys)
    for use, key in made.items():
        state = kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"]
        if state != "Enabled":
            raise Failure(f"the {use} key that Terraform had made is now {state}")
    s3 = boto3.client("s3", **function_role())
    with iam_enforced():
        s3.get_object(**grant)
    detail("the keys that were made are kept, and the function reads what they encrypted")
    return own_keys


def destroy(terraform: Terraform, own_keys: dict[str, str]) -> None:
    """Removes everything, and looks whether it is gone."""
    apply(terraform, kms_key_arns=own_keys, delete_data_on_destroy=True)
    step("make destroy, with delete_data_on_destroy: everything should go")
    insist("make destroy", lambda: make_destroy(terraform))
    if found := sorted(left(own_keys)):
        raise Failure(f"something is left: {', '.join(found)}")
    detail("nothing is left in the emulator but the secrets and own keys, which are not")
    detail("Terraform's, and keys that wait for their deletion, as in AWS")
    hint("`make deploy` does the same to your account; infra/README.md says how")


def left(own_keys: dict[str, str]) -> Iterator[str]:
    """Names of whatever Terraform's services still have."""
    for service, operation, members, name in map(str.split, LISTINGS.strip().splitlines()):
        for found in getattr(aws.client(service), operation)().get(members, ()):
            yield f"{service} {found if name == '-' else found[name]}"
    for key in aws.client("kms").list_keys()["Keys"]:
        state = aws.client("kms").describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"]
        if state != "PendingDeletion" and key["KeyArn"] not in own_keys.values():
            yield f"kms {key['KeyId']} ({state})"


if __name__ == "__main__":
    sys.exit(reporting_failures(run))
