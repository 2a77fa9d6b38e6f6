"""The same harvest of one source with boto3, as a user would write it: the peer of `make bench`."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote_plus, urlencode

import boto3
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError

SECRET_ID = os.environ["SECRET_ID"]
SOURCE = os.environ["SOURCE"]
BUCKET = os.environ["TOKEN_BUCKET"]
KEY = f"tokens/{SOURCE}.json"
TOPIC_ARN = os.environ["TOPIC_ARN"]
ENVIRONMENT = os.environ.get("ENVIRONMENT", "dev")
DEFINITION_SECONDS = 300

CONFIG = Config(retries={"mode": "standard", "max_attempts": 3}, connect_timeout=3, read_timeout=5)
secrets_manager = boto3.client("secretsmanager", config=CONFIG)
s3 = boto3.client("s3", config=CONFIG)
sns = boto3.client("sns", config=CONFIG)
RETRIES = urllib3.Retry(
    3, backoff_factor=0.5, status_forcelist=[429, 500, 502, 503, 504], allowed_methods={"POST"}
)
http = urllib3.PoolManager(
    ca_certs=os.environ.get("SSL_CERT_FILE"), timeout=urllib3.Timeout(connect=3, read=10)
)

_definition: tuple[float, dict[str, Any]] | None = None


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Refreshes the source's token if it is due, and says what became of it."""
    source = definition()
    stored = head()
    now = datetime.now(timezone.utc).replace(microsecond=0)
    if stored and not event.get("force") and now < refresh_after(stored):
        return {"source": SOURCE, "outcome": "fresh"}

    answer = request_token(source)
    expires_at = now + timedelta(seconds=answer["expires_in"])
    document = {
        "schema_version": 1,
        "source": SOURCE,
        "access_token": answer["access_token"],
        "token_type": answer.get("token_type", "Bearer"),
        "scope": answer.get("scope"),
        "issued_at": rfc3339(now),
        "expires_at": rfc3339(expires_at),
        "refresh_after": rfc3339(expires_at - timedelta(minutes=25)),
        "generation": int(stored["Metadata"]["generation"]) + 1 if stored else 1,
        "extra": {},
    }
    version_id = put(document, stored)
    publish(document, version_id, context.aws_request_id)
    return {
        "source": SOURCE,
        "outcome": "refreshed",
        "generation": document["generation"],
        "expires_at": document["expires_at"],
        "version_id": version_id,
    }


def definition() -> dict[str, Any]:
    """The source's definition, from memory if it was read within the last minutes."""
    global _definition
    if _definition is None or time.monotonic() - _definition[0] > DEFINITION_SECONDS:
        secret = secrets_manager.get_secret_value(SecretId=SECRET_ID)["SecretString"]
        _definition = (time.monotonic(), json.loads(secret))
    return _definition[1]


def head() -> dict[str, Any] | None:
    """What is stored, without the token; `None` if nothing is."""
    try:
        return s3.head_object(Bucket=BUCKET, Key=KEY)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return None
        raise


def refresh_after(stored: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(stored["Metadata"]["refresh-after"].replace("Z", "+00:00"))


def request_token(source: dict[str, Any]) -> dict[str, Any]:
    """Asks the token endpoint with the client's credentials (RFC 6749, section 4.4)."""
    client = f"{quote_plus(source['client_id'])}:{quote_plus(source['client_secret'])}"
    answer = http.request(
        "POST",
        source["token_endpoint"],
        headers={
            "Accept": "application/json",
            "Authorization": f"Basic {base64.b64encode(client.encode()).decode()}",
            "Content-Type": "application/x-www-form-urlencoded",
        },
        body=urlencode({"grant_type": "client_credentials", "scope": source["scope"]}),
        redirect=False,
        retries=RETRIES,
    )
    if answer.status != 200:
        raise RuntimeError(f"the token endpoint answered {answer.status}")
    return json.loads(answer.data)


def put(document: dict[str, Any], stored: dict[str, Any] | None) -> str:
    """Writes the token if what is stored is still what was read; returns the S3 version."""
    condition = {"IfMatch": stored["ETag"]} if stored else {"IfNoneMatch": "*"}
    token_sha256 = hashlib.sha256(document["access_token"].encode()).hexdigest()
    answer = s3.put_object(
        Bucket=BUCKET,
        Key=KEY,
        Body=json.dumps(document).encode(),
        ContentType="application/json",
        Metadata={
            "source": SOURCE,
            "generation": str(document["generation"]),
            "issued-at": document["issued_at"],
            "expires-at": document["expires_at"],
            "refresh-after": document["refresh_after"],
            "token-sha256": token_sha256[:16],
        },
        **condition,
    )
    return answer.get("VersionId", "")


def publish(document: dict[str, Any], version_id: str, run_id: str) -> None:
    """Tells subscribers of the new token, without the token."""
    body = {name: document[name] for name in ("source", "generation", "issued_at", "expires_at")}
    body |= {
        "schema_version": 1,
        "event": "token.refreshed",
        "environment": ENVIRONMENT,
        "run_id": run_id,
        "bucket": BUCKET,
        "key": KEY,
        "version_id": version_id,
    }
    text = f"The token of {SOURCE} was refreshed and works until {document['expires_at']}."
    attributes = {
        "kind": "token", "event": "token.refreshed", "source": SOURCE, "environment": ENVIRONMENT,
    }  # fmt: skip
    sns.publish(
        TopicArn=TOPIC_ARN,
        Subject=f"[{ENVIRONMENT}] {SOURCE}: token refreshed",
        Message=json.dumps({"default": json.dumps(body), "email": text}),
        MessageStructure="json",
        MessageAttributes={
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        },
    )


def rfc3339(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
