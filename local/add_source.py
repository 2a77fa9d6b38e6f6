"""`make add-source NAME=acme-crm FILE=acme-crm.json`: puts a source's definition into its secret.

The definition goes from the file to Secrets Manager in the body of a request: never into Terraform's
state, a process's arguments or a log. Account and region are those of the deployment in `infra/`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from console import Failure, hint, reporting_failures
from terraform import INFRA
from tools import SOURCE_NAME, check_definition
from workspace import shown

DEPLOYMENT = "DEPLOYMENT"
"""Variable with the folder whose Terraform state to ask; `infra/` without it."""
USAGE = "make add-source NAME=acme-crm FILE=acme-crm.json"


def run() -> int:
    """Creates the secret, or gives it a new value; returns the exit status."""
    name, file = os.environ.get("NAME"), os.environ.get("FILE")
    if not name or not file:
        raise Failure("NAME or FILE is missing", USAGE)
    if not SOURCE_NAME.fullmatch(name):
        raise Failure(f"NAME: {name!r} cannot be a source", f"it must match {SOURCE_NAME.pattern}")
    path = Path(file).absolute()
    check_definition(path, "FILE")
    deployment = outputs()
    secret = f"{deployment['secret_prefix']}{name}"
    try:
        client = boto3.client("secretsmanager", region_name=deployment["region"])
        done = put(client, secret, path.read_text(encoding="utf-8"))
    except (BotoCoreError, ClientError) as problem:
        raise Failure(f"Secrets Manager refused {secret}: {problem}") from None
    print(f"{done} {secret} in {deployment['region']}")
    if DEPLOYMENT not in os.environ:  # else somebody tries it, and deletes the file
        hint(
            f"it is harvested within two runs; {shown(path)} holds secrets: delete it, or keep it safe"
        )
    return 0


def outputs() -> dict[str, Any]:
    """What the deployment says about itself."""
    folder = Path(os.environ.get(DEPLOYMENT) or INFRA)
    try:
        answer = subprocess.run(
            ["terraform", "output", "-json"], cwd=folder, capture_output=True, text=True, check=True
        )
        found = json.loads(answer.stdout)
        return {name: found[name]["value"] for name in ("region", "secret_prefix")}
    except FileNotFoundError:
        raise Failure("terraform is missing: install it, and open a new shell") from None
    except (subprocess.CalledProcessError, KeyError, ValueError):
        raise Failure(
            f"there is no deployment in {shown(folder)}", "`make deploy` makes one"
        ) from None


def put(client: Any, secret: str, text: str) -> str:
    """Creates the secret, or gives it a new value; returns which."""
    try:
        client.create_secret(
            Name=secret, SecretString=text, Description="A source of token-harvester"
        )
    except client.exceptions.ResourceExistsException:
        client.put_secret_value(SecretId=secret, SecretString=text)
        return "updated"
    return "created"


if __name__ == "__main__":
    sys.exit(reporting_failures(run))
