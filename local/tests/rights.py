"""What a command of the documents must be allowed, and whether the right that its text names allows it.

Who decides is the model of AWS in infra/tests/iam.py, with the policies as Terraform fills them in.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "infra" / "tests"))

from iam import ACCOUNT, PARTITION, REGION, Call, is_allowed, policy

TOKENS, STATE = "example-tokens", "example-state"
PREFIX = "token-harvester/"
QUEUE = "token-harvester-failures-dead-letters"
HERE = f"{REGION}:{ACCOUNT}"
FUNCTION = f"arn:aws:lambda:{HERE}:function:token-harvester"
LOG_GROUP = f"arn:aws:logs:{HERE}:log-group:/aws/lambda/token-harvester"
STATE_KEY = f"arn:aws:kms:{HERE}:key/state"

EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}
VALUES = {
    "partition": PARTITION,
    "region": REGION,
    "account": ACCOUNT,
    "dns_suffix": "amazonaws.com",
    "secret_prefix": PREFIX,
    "function_arn": FUNCTION,
    "log_group_arn": LOG_GROUP,
    "schedule_group": "token-harvester",
    "token_bucket_arn": f"arn:aws:s3:::{TOKENS}",
    "state_bucket_arn": f"arn:aws:s3:::{STATE}",
    "state_key_arns": json.dumps([STATE_KEY]),
    "dead_letters_arns": json.dumps([f"arn:aws:sqs:{HERE}:{QUEUE}"]),
}
POLICIES = {
    "viewer": policy("viewer", **VALUES),
    "on-call": policy("on-call", **VALUES),
    "break-glass": {"Statement": [EVERYTHING]},
    "deployer": {"Statement": [EVERYTHING]},
}
STATE_BUCKET = policy(
    "state-bucket",
    bucket_arn=f"arn:aws:s3:::{STATE}",
    key_arns=json.dumps([STATE_KEY]),
    principals=json.dumps(
        [f"arn:aws:iam::{ACCOUNT}:role/{n}" for n in ("function", "break-glass")]
    ),
)
LEFT_TO_IAM = {
    "Statement": [EVERYTHING | {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}],
}
OTHER_NAMES = {
    "lambda:Invoke": "lambda:InvokeFunction",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:ListObjectsV2": "s3:ListBucket",
}
"""Operations whose permission has another name."""


class Command(NamedTuple):
    """A call of `aws`."""

    service: str
    operation: str
    options: dict[str, str]
    words: list[str]
    """What else was said."""

    @classmethod
    def parse(cls, words: Sequence[str]) -> Command:
        rest = list(words)
        options: dict[str, str] = {}
        plain: list[str] = []
        while rest:
            word = rest.pop(0)
            if word.startswith("--"):
                has_value = bool(rest) and not rest[0].startswith("--")
                options[word[2:]] = rest.pop(0) if has_value else ""
            else:
                plain.append(word)
        return cls(plain[0], plain[1], options, plain[2:])

    @property
    def action(self) -> str:
        """Its permission."""
        operation = "".join(word.capitalize() for word in self.operation.split("-"))
        action = f"{self.service.removesuffix('api')}:{operation}"
        return OTHER_NAMES.get(action, action)


def refused(profile: str, words: Sequence[str]) -> list[str]:
    """What the right that a command is used with may not do of it."""
    command = Command.parse(words)
    right = command.options.get("profile", profile)
    return [
        f"{right} may not {call.action} on {call.resource}"
        for call in calls(command)
        if not may(right, call)
    ]


def may(right: str, call: Call) -> bool:
    """Whether the model allows a call to a role with that right."""
    resource: dict[str, Any] | None = None
    if call.resource.startswith(f"arn:aws:s3:::{STATE}"):
        resource = STATE_BUCKET
    elif call.action.startswith("kms:"):
        resource = LEFT_TO_IAM
    caller = f"arn:aws:iam::{ACCOUNT}:role/{right}"
    return is_allowed(call, [POLICIES[right]], caller, resource)


def calls(command: Command) -> Iterator[Call]:
    """What must be allowed for a command."""
    options = command.options
    if command.service == "s3":
        yield from download(command.words[0])
    elif command.operation == "copy-object":
        source, _, version = options["copy-source"].partition("?versionId=")
        read = "s3:GetObjectVersion" if version else "s3:GetObject"
        yield Call(read, f"arn:aws:s3:::{source}", {})
        asked = {"s3:x-amz-server-side-encryption-aws-kms-key-id": STATE_KEY}
        yield Call("s3:PutObject", f"arn:aws:s3:::{options['bucket']}/{options['key']}", asked)
    elif command.service == "s3api":
        place = "/".join(filter(None, (options["bucket"], options.get("key"))))
        action = command.action + ("Version" if "version-id" in options else "")
        yield Call(action, f"arn:aws:s3:::{place}", {})
    else:
        yield Call(command.action, resource_of(command), {})


def download(place: str) -> Iterator[Call]:
    """Of an object, which a KMS key encrypts."""
    bucket, _, key = place.removeprefix("s3://").partition("/")
    yield Call("s3:GetObject", f"arn:aws:s3:::{bucket}/{key}", {})
    context = {
        "kms:ViaService": f"s3.{REGION}.amazonaws.com",
        "kms:EncryptionContext:aws:s3:arn": f"arn:aws:s3:::{bucket}",
    }
    yield Call("kms:Decrypt", STATE_KEY, context)


def resource_of(command: Command) -> str:
    """The ARN that a command outside S3 is about."""
    options = command.options
    if "secret-id" in options:
        return f"arn:aws:secretsmanager:{HERE}:secret:{options['secret-id']}-AbCdEf"
    if command.service == "sqs" and not options.keys().isdisjoint({"queue-name", "queue-url"}):
        name = options.get("queue-name") or options["queue-url"].rpartition("/")[2]
        return f"arn:aws:sqs:{HERE}:{name}"
    return {"lambda": FUNCTION, "logs": LOG_GROUP}.get(command.service, "*")
