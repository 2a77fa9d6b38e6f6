"""`make destroy`: looks before it begins, so that a destroy ends with everything gone or nothing.

Terraform finds out that a bucket is not empty only when it comes to it, and by then the function, the
bucket's policy and much else are gone. So the buckets are looked at first. Deployment and region are
those of `infra/`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from add_source import DEPLOYMENT
from console import Failure, detail, reporting_failures, step
from terraform import INFRA
from workspace import shown

BUCKETS = "TOKEN_HARVESTER_BUCKETS"
"""Variable by which the guard in storage.tf is told that the buckets are `empty`."""
HOW = (
    "to delete all tokens and grants with everything else: delete_data_on_destroy = true in "
    "infra/terraform.tfvars, make deploy, make destroy"
)


class Bucket(NamedTuple):
    """A bucket of the deployment, as Terraform's state has it."""

    name: str
    region: str
    emptied_by_terraform: bool


def run() -> int:
    """Looks, and becomes `terraform destroy`; returns an exit status if that must not be."""
    folder = Path(os.environ.get(DEPLOYMENT) or INFRA)
    step("Looking at the buckets")
    env = os.environ | {BUCKETS: ""}
    kept = [bucket for bucket in buckets(state(folder)) if not bucket.emptied_by_terraform]
    for bucket in kept:
        client = boto3.client("s3", region_name=bucket.region)
        try:
            refuse_if_full(bucket, client)
        except (BotoCoreError, ClientError) as problem:
            raise Failure(
                f"S3 refused to show {bucket.name}, so nothing was begun: {problem}"
            ) from None
        env[BUCKETS] = "empty"
        detail(f"{bucket.name} is empty")
    sys.stdout.flush()
    os.execvpe("terraform", ["terraform", f"-chdir={folder}", "destroy"], env)


def state(folder: Path) -> dict[str, Any]:
    """What Terraform knows of the deployment."""
    try:
        answer = subprocess.run(
            ["terraform", f"-chdir={folder}", "show", "-json"],
            capture_output=True,
            text=True,
            check=True,
        )
    except FileNotFoundError:
        raise Failure("terraform is missing: install it, and open a new shell") from None
    except subprocess.CalledProcessError as problem:
        raise Failure(
            f"Terraform's state in {shown(folder)} can't be read:\n{problem.stderr}"
        ) from None
    known: dict[str, Any] = json.loads(answer.stdout)
    return known


def buckets(known: Mapping[str, Any]) -> Iterator[Bucket]:
    """The buckets that a destroy would delete."""
    for resource in known.get("values", {}).get("root_module", {}).get("resources", ()):
        if resource["mode"] == "managed" and resource["type"] == "aws_s3_bucket":
            values = resource["values"]
            yield Bucket(values["bucket"], values["region"], bool(values["force_destroy"]))


def refuse_if_full(bucket: Bucket, client: Any) -> None:
    """Fails if the bucket has an object or an old version, or may have one."""
    try:
        found = client.list_object_versions(Bucket=bucket.name, MaxKeys=1)
    except ClientError as problem:
        code = problem.response["Error"]["Code"]
        if code == "NoSuchBucket":
            return
        if code != "AccessDenied":
            raise
        # The state bucket shows its old versions to the function and the break-glass role only.
        if not client.list_objects_v2(Bucket=bucket.name, MaxKeys=1).get("Contents"):
            raise Failure(
                f"{bucket.name} may have old versions, which you may not list; nothing was begun",
                f"as the break-glass role it can be seen; {HOW}",
            ) from None
        found = {"Versions": True}
    if found.get("Versions") or found.get("DeleteMarkers"):
        raise Failure(f"{bucket.name} is not empty; nothing was begun", HOW)


if __name__ == "__main__":
    sys.exit(reporting_failures(run))
