"""moto with IAM enforced as AWS would: by resource and condition, and with the calls behind a call.

moto itself checks signatures, and finds the caller's role and its policies. It compares actions, but
knows no resource outside S3, no condition, no bucket's policy, and none of the calls that AWS makes
on behalf of the caller, such as S3's to KMS. That part is here.
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


def is_allowed(call: Call, policies: Sequence[Mapping[str, Any]], caller: str) -> bool:
    """Whether a statement allows the call and none denies it."""
    context = {"aws:PrincipalArn": caller, "aws:SecureTransport": "true"} | dict(call.context)
    effects = {
        statement["Effect"]
        for document in policies
        for statement in document["Statement"]
        if _any_like(statement["Action"], call.action, str.lower)
        and _any_like(statement["Resource"], call.resource)
        and _holds(statement.get("Condition", {}), context)
    }
    return effects == {"Allow"}


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
            else:
                raise NotImplementedError(operator)
            if not holds:
                return False
    return True


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
        if not is_allowed(call, [*documents, *_denials(call)], role.arn):
            request._raise_access_denied()


def _denials(call: Call) -> list[dict[str, Any]]:
    """What the bucket's own policy forbids."""
    if not call.action.startswith("s3:"):
        return []
    text = _bucket(call.resource).policy
    return [json.loads(text)] if text else []


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
