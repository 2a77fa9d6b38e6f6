"""`make add-source NAME=acme-crm FILE=acme-crm.json`: puts a source's definition into its secret.

The definition goes from the file to Secrets Manager in the body of a request: never into
Terraform's state, a process's arguments or a log. Account and region are the deployment's.
"""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

import terraform
from console import Failure, hint, reporting_failures
from workspace import shown

SOURCE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def run() -> int:
    """Creates the secret, or gives it a new value; returns the exit status."""
    name, file = os.environ.get("NAME"), os.environ.get("FILE")
    if not name or not file:
        raise Failure("NAME or FILE is missing", "make add-source NAME=acme-crm FILE=acme-crm.json")
    if not SOURCE_NAME.fullmatch(name):
        raise Failure(f"NAME: {name!r} cannot be a source", f"it must match {SOURCE_NAME.pattern}")
    path = Path(file).absolute()
    read_definition(path, "FILE")
    text = path.read_text(encoding="utf-8")
    outputs = terraform.known("output")
    if "secret_prefix" not in outputs:
        raise Failure(
            f"there is no deployment in {shown(terraform.deployment())}", "`make deploy` makes one"
        )
    secret, region = outputs["secret_prefix"]["value"] + name, outputs["region"]["value"]
    client = boto3.client("secretsmanager", region_name=region)
    try:
        try:
            about = "A source of token-harvester"
            client.create_secret(Name=secret, SecretString=text, Description=about)
            print(f"created {secret} in {region}", flush=True)
        except client.exceptions.ResourceExistsException:
            client.put_secret_value(SecretId=secret, SecretString=text)
            print(f"updated {secret} in {region}", flush=True)
    except (BotoCoreError, ClientError) as problem:
        raise Failure(f"Secrets Manager refused {secret}: {problem}") from None
    if terraform.DEPLOYMENT not in os.environ:  # else somebody tries it, and deletes the file
        hint("it is harvested within two runs")
        hint(f"{shown(path)} holds secrets: delete it, or keep it safe")
    return 0


def read_definition(path: Path, variable: str) -> dict[str, Any]:
    """The definition in the file that a variable names."""
    definition = read_json(path, variable)
    if not isinstance(definition, dict):
        raise Failure(f"{variable}: {shown(path)} holds no JSON object")
    return definition


def read_json(path: Path, variable: str) -> Any:
    """The parsed file that a variable names. What goes wrong is said without quoting the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise Failure(f"{variable}: cannot read {shown(path)}: {problem.strerror}") from None
    except ValueError as problem:
        raise Failure(f"{variable}: {shown(path)} is not valid JSON: {problem}") from None


if __name__ == "__main__":
    sys.exit(reporting_failures(run))
