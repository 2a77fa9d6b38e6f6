"""`make destroy`: looks before it begins, so that a destroy ends with everything gone or nothing.

Terraform finds out that a bucket is not empty only when it comes to it, and by then the function,
the bucket's policy and much else are gone. So the buckets are looked at first.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import boto3
from botocore.exceptions import BotoCoreError, ClientError

import terraform
from console import Failure, detail, reporting_failures, step

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
    """Looks, and becomes `terraform destroy`."""
    step("Looking at the buckets")
    env = os.environ | {BUCKETS: ""}
    for bucket in buckets(terraform.known("show")):
        if bucket.emptied_by_terraform:
            continue
        try:
            refuse_if_full(bucket, boto3.client("s3", region_name=bucket.region))
        except (BotoCoreError, ClientError) as problem:
            raise Failure(
                f"S3 refused to show {bucket.name}, so nothing was begun: {problem}"
            ) from None
        env[BUCKETS] = "empty"
        detail(f"{bucket.name} is empty")
    os.execvpe("terraform", ["terraform", f"-chdir={terraform.deployment()}", "destroy"], env)


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
