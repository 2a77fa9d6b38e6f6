"""moto with IAM enforced by a model of how AWS decides: a test that passes proves the model, not AWS.

moto itself checks signatures, and finds the caller's role and its policies. It compares actions, but
knows no resource outside S3, no condition, no policy of a bucket or a key, and none of the calls that
AWS makes on behalf of the caller, such as S3's to KMS. That part is here, and is ours. It is written
after AWS's documents; nothing of it has been compared with an account:

- An explicit denial wins; within an account the caller's own policy or the resource's suffices, from
  another account both are needed; a key's policy has to allow it always, and one that names an account
  leaves it to that account's policies.
  https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
  https://docs.aws.amazon.com/kms/latest/developerguide/key-policies.html
- Which calls are behind a call: `s3:ListBucket` for an object that is missing; `kms:GenerateDataKey`
  for a PUT and `kms:Decrypt` for a GET but neither for a HEAD (as long as it does not ask for
  checksums) nor for `If-Match`; both for SNS's encrypted topics; `ListSecrets` and `GetSecretValue`
  for `BatchGetSecretValue`.
  https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
  https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
- With bucket keys the encryption context is the bucket's ARN.
  https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-key.html

Not in the model: session policies, permissions boundaries, organizations' policies, and the trust of
roles.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from moto.iam import access_control
from moto.iam.access_control import (
    IAMRequest,
    IAMRequestBase,
    PermissionResult,
    S3IAMRequest,
)
from moto.kms.models import kms_backends
from moto.s3.models import FakeBucket, s3_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.sns.models import sns_backends

REGION = "eu-central-1"
ACCOUNT = "123456789012"
PARTITION = "aws"
POLICIES = Path(__file__).parent.parent / "policies"

PERMISSION_OF = {
    "s3:GetObjectVersion": "s3:GetObjectVersion",
    "s3:HeadBucket": "s3:ListBucket",
    "sns:PublishBatch": "sns:Publish",
    "sqs:SendMessageBatch": "sqs:SendMessage",
}
"""Operations whose permission has another name."""


def policy(name: str, **values: str) -> dict[str, Any]:
    """A policy of the infrastructure, filled in as Terraform's `templatefile` does."""
    template = (POLICIES / f"{name}.json.tftpl").read_text(encoding="utf-8")
    filled: dict[str, Any] = json.loads(
        re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], template)
    )
    return filled


def listed(value: str | Sequence[str]) -> list[str]:
    """One or many: a policy writes either."""
    return [value] if isinstance(value, str) else list(value)


class Call(NamedTuple):
    """What must be allowed, in the words of a policy."""

    action: str
    resource: str
    context: Mapping[str, str]


def is_allowed(
    call: Call,
    identity: Sequence[Mapping[str, Any]],
    caller: str,
    resource: Mapping[str, Any] | None = None,
) -> bool:
    """Whether the caller's own policies, and that of the resource if it has one, allow the call."""
    own = set().union(*(_effects(document, call, caller) for document in identity))
    theirs = _effects(resource, call, caller) if resource else set()
    if "Deny" in own | theirs:
        return False
    allowed, delegated = "Allow" in own, "Delegate" in theirs
    if "Allow" in theirs and _account(caller) == ACCOUNT:
        return True
    if call.action.startswith("kms:") or _account(caller) != ACCOUNT:
        return allowed and (delegated or "Allow" in theirs)
    return allowed


def _effects(document: Mapping[str, Any], call: Call, caller: str) -> set[str]:
    """What a policy says of a call: `Allow`, `Deny`, or `Delegate` to the caller's account."""
    context = {"aws:PrincipalArn": caller, "aws:SecureTransport": "true"} | dict(call.context)
    return {
        "Delegate"
        if statement["Effect"] == "Allow" and concerned == "account"
        else statement["Effect"]
        for statement in document["Statement"]
        if (concerned := _concerned(statement.get("Principal", "*"), caller))
        and _covers(statement, "Action", call.action.lower(), str.lower)
        and _covers(statement, "Resource", call.resource, str)
        and _holds(statement.get("Condition", {}), context)
    }


def _concerned(principal: str | Mapping[str, Any], caller: str) -> str | None:
    """Whether a statement is about the `caller`, or about the caller's whole `account`."""
    if principal == "*":
        return "caller"
    assert isinstance(principal, Mapping)
    named = listed(principal.get("AWS", []))
    if caller in named or "*" in named:
        return "caller"
    return "account" if f"arn:{PARTITION}:iam::{_account(caller)}:root" in named else None


def _account(arn: str) -> str:
    return arn.split(":")[4]


def _covers(statement: Mapping[str, Any], member: str, text: str, fold: Any) -> bool:
    """Whether `Action` or `NotAction`, `Resource` or `NotResource` of a statement covers a text."""
    if member in statement:
        return _any_like(statement[member], text, fold)
    return not _any_like(statement[f"Not{member}"], text, fold)


def _any_like(patterns: str | Sequence[str], text: str, fold: Any = str) -> bool:
    return any(_like(fold(pattern), fold(text)) for pattern in listed(patterns))


def _like(pattern: str, text: str) -> bool:
    return (
        re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text) is not None
    )


def _holds(condition: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    for operator, members in condition.items():
        for key, expected in members.items():
            actual = context.get(key)
            if operator in ("StringEquals", "Bool"):
                holds = actual in listed(expected)
            elif operator in ("StringNotEquals", "ArnNotEquals"):
                holds = actual not in listed(expected)  # a missing key too
            elif operator in ("ArnLike", "ArnEquals"):
                holds = actual is not None and _any_arn_like(expected, actual)
            elif operator == "ArnNotLike":
                holds = actual is None or not _any_arn_like(expected, actual)
            else:
                raise NotImplementedError(operator)
            if not holds:
                return False
    return True


def _any_arn_like(patterns: str | Sequence[str], arn: str) -> bool:
    """ARNs are compared by their six parts; a wildcard does not reach over a colon."""
    parts = arn.split(":", 5)
    return any(
        all(map(_like, pattern.split(":", 5), parts)) and pattern.count(":") >= 5
        for pattern in listed(patterns)
    )


_moto_check_signature = IAMRequestBase.check_signature


def enforce() -> None:
    """Replaces moto's decision by ours."""
    IAMRequestBase.check_action_permitted = _check  # type: ignore[method-assign]
    IAMRequestBase.check_signature = _check_signature  # type: ignore[method-assign]
    # moto takes every denial in a bucket's policy for one without a condition; ours are in `_check`.
    FakeBucket.get_permission = lambda *_: PermissionResult.NEUTRAL  # type: ignore[method-assign]


def _check_signature(request: IAMRequest | S3IAMRequest) -> None:
    # moto signs a form as it would have written it, which need not be how the caller did.
    if request._service != "sns":
        _moto_check_signature(request)


def _check(request: IAMRequest | S3IAMRequest, resource: str) -> None:
    documents = [json.loads(text) for text in request._access_key.collect_policies()]
    role = access_control.iam_backends[ACCOUNT][PARTITION].get_role(
        request._access_key._owner_role_name
    )
    for call in _calls(request, resource):
        if not is_allowed(call, documents, role.arn, _resource_policy(call)):
            request._raise_access_denied()


def _resource_policy(call: Call) -> dict[str, Any] | None:
    """The policy of the bucket or the key that a call is about."""
    if call.action.startswith("kms:"):
        text = kms_backends[ACCOUNT][REGION].describe_key(call.resource.rpartition("/")[2]).policy
    else:
        text = _bucket(call.resource).policy if call.action.startswith("s3:") else None
    document: dict[str, Any] | None = json.loads(text) if text else None
    return document


def _calls(request: IAMRequest | S3IAMRequest, resource: str) -> Iterator[Call]:
    """The call itself, and those that AWS makes for it."""
    action = PERMISSION_OF.get(request._action, request._action)
    service = action.partition(":")[0]
    if service == "s3":
        yield from _s3_calls(action, resource, request)
    elif service == "secretsmanager":
        yield from _secrets_manager_calls(action, json.loads(request._body))
    elif service == "sns":
        yield from _sns_calls(action, request._data["TopicArn"][0])
    elif service == "sqs":
        name = json.loads(request._body)["QueueUrl"].rpartition("/")[2]
        yield Call(action, f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}", {})
    elif service == "logs":
        group = json.loads(request._body)["logGroupName"]
        yield Call(action, f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}:log-stream:x", {})
    else:
        yield Call(action, "*", {})


def _bucket(resource: str) -> Any:
    name = resource.removeprefix("arn:aws:s3:::").partition("/")[0]
    return s3_backends[ACCOUNT][PARTITION].get_bucket(name)


def _s3_calls(action: str, resource: str, request: Any) -> Iterator[Call]:
    bucket_arn, _, key = resource.partition("/")
    headers = {name.lower(): value for name, value in request._headers.items()}
    asked = headers.get("x-amz-server-side-encryption-aws-kms-key-id")
    context = {"s3:x-amz-server-side-encryption-aws-kms-key-id": asked} if asked else {}
    yield Call(action, resource, context)
    kms = {
        "kms:ViaService": f"s3.{REGION}.amazonaws.com",
        "kms:EncryptionContext:aws:s3:arn": bucket_arn,
    }
    if action == "s3:PutObject" and asked:
        yield Call("kms:GenerateDataKey", asked, kms)
    elif action == "s3:GetObject":
        stored = s3_backends[ACCOUNT][PARTITION].get_object(_bucket(resource).name, key)
        if stored is None:
            yield Call("s3:ListBucket", bucket_arn, {})  # else S3 does not say what is missing
        elif stored.kms_key_id and request._method == "GET":
            yield Call("kms:Decrypt", stored.kms_key_id, kms)


def _secrets_manager_calls(action: str, body: Mapping[str, Any]) -> Iterator[Call]:
    secrets = secretsmanager_backends[ACCOUNT][REGION].secrets.values()
    if action == "secretsmanager:BatchGetSecretValue":
        yield Call(action, "*", {})
        yield Call("secretsmanager:ListSecrets", "*", {})
        (prefix,) = body["Filters"][0]["Values"]
        for secret in secrets:
            if secret.name.startswith(prefix):
                yield Call("secretsmanager:GetSecretValue", secret.arn, {})
    else:
        wanted = body.get("SecretId")
        arns = [secret.arn for secret in secrets if wanted in (secret.name, secret.arn)]
        yield Call(action, arns[0] if arns else "*", {})


def _sns_calls(action: str, topic_arn: str) -> Iterator[Call]:
    yield Call(action, topic_arn, {})
    key = sns_backends[ACCOUNT][REGION].get_topic(topic_arn).kms_master_key_id
    if key:
        arn = kms_backends[ACCOUNT][REGION].describe_key(key.rpartition("/")[2]).arn
        kms = {"kms:ViaService": f"sns.{REGION}.amazonaws.com"}
        yield Call("kms:GenerateDataKey", arn, kms)
        yield Call("kms:Decrypt", arn, kms)
