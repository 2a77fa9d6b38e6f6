"""The AWS emulator, moto: started, furnished, and kept between runs as far as S3 goes."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from console import Failure, detail, step
from processes import Processes, wait_until_up
from workspace import LOCAL, LOOPBACK, Settings, read_kept, shown, write_private

NAME = "AWS emulator"
LOG = LOCAL / "aws.log"
KEPT_OBJECTS = LOCAL / "buckets.json"
UP_SECONDS = 60.0

REGION = "eu-central-1"
TOKEN_BUCKET = "token-harvester-local-tokens"
STATE_BUCKET = "token-harvester-local-state"
SECRET_PREFIX = "token-harvester/"
TOPIC = "token-harvester-local"
QUEUE = "token-harvester-local-subscriber"
ACCESS_KEYS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
"""The emulator takes any."""


class Message(NamedTuple):
    """What a subscriber received."""

    body: str
    attributes: dict[str, str]
    subject: str | None


class Emulator:
    """A running emulator and what is in it."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.token_bucket = TOKEN_BUCKET
        self._session = boto3.Session(
            aws_access_key_id=ACCESS_KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=ACCESS_KEYS["AWS_SECRET_ACCESS_KEY"],
            region_name=REGION,
        )
        self._s3, self._secrets_manager, self._sns, self._sqs = map(
            self.client, ("s3", "secretsmanager", "sns", "sqs")
        )
        self._topic_arn = ""
        self.queue_url = ""

    def client(self, service: str) -> Any:
        """A client of one of its services."""
        config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30)
        return self._session.client(service, endpoint_url=self.endpoint, config=config)

    def furnish(self, secrets: Mapping[str, str]) -> None:
        """Makes the buckets, the topic with its subscriber, and the secrets by name."""
        for bucket in (TOKEN_BUCKET, STATE_BUCKET):
            self._make_bucket(bucket)
        self._topic_arn = self._sns.create_topic(Name=TOPIC)["TopicArn"]
        self.queue_url = self._sqs.create_queue(QueueName=QUEUE)["QueueUrl"]
        queue = self._sqs.get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=["QueueArn"])
        self._sns.subscribe(
            TopicArn=self._topic_arn, Protocol="sqs", Endpoint=queue["Attributes"]["QueueArn"]
        )
        for name, text in secrets.items():
            self._secrets_manager.create_secret(Name=f"{SECRET_PREFIX}{name}", SecretString=text)
        names = ", ".join(f"{SECRET_PREFIX}{name}" for name in secrets)
        detail(f"in it two buckets, a topic, a queue subscribed to the topic, and {names}")

    def function_environment(self) -> dict[str, str]:
        """What the function is configured with, to work in this emulator and nowhere else."""
        return ACCESS_KEYS | {
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint,
            "TOKEN_BUCKET": TOKEN_BUCKET,
            "STATE_BUCKET": STATE_BUCKET,
            "TOPIC_ARN": self._topic_arn,
            "SECRET_PREFIX": SECRET_PREFIX,
            "ENVIRONMENT": "local",
            "SCHEDULE_INTERVAL": "15m",
            "ALLOW_LOOPBACK_HTTP": "1",  # the authorization server's
        }

    def token_document(self, source: str, version_id: str) -> tuple[str, dict[str, Any]] | None:
        """Where a source's token is, and the document; `None` if there is none."""
        key = f"tokens/{source}.json"
        try:
            answer = self._s3.get_object(Bucket=self.token_bucket, Key=key, VersionId=version_id)
        except ClientError:
            return None
        return f"s3://{self.token_bucket}/{key}", json.loads(answer["Body"].read())

    def received_messages(self) -> list[Message]:
        """Everything that the subscriber has received so far, in order."""
        return list(self._receive())

    def grants(self) -> dict[str, dict[str, Any]]:
        """What the function saved for each source's next refresh. It holds credentials."""
        try:
            return {
                key.removeprefix("grants/").removesuffix(".json"): json.loads(
                    self._s3.get_object(Bucket=STATE_BUCKET, Key=key)["Body"].read()
                )
                for key in self._keys(STATE_BUCKET, "grants/")
            }
        except EMULATOR_ERRORS as problem:
            raise refused(problem) from problem

    def leases(self) -> list[str]:
        """Keys of the leases that a run holds, or left behind."""
        try:
            return list(self._keys(STATE_BUCKET, "leases/"))
        except EMULATOR_ERRORS as problem:
            raise refused(problem) from problem

    def keep_objects(self) -> None:
        """Saves the newest version of every object but reports, for the next run."""
        kept = {
            bucket: {
                key: self._read(bucket, key)
                for key in self._keys(bucket)
                if not key.startswith("reports/")
            }
            for bucket in (TOKEN_BUCKET, STATE_BUCKET)
        }
        write_private(KEPT_OBJECTS, json.dumps(kept, indent=2))

    def restore_objects(self) -> None:
        """Puts back what the last run saved."""
        kept = read_kept(KEPT_OBJECTS) or {}
        try:
            for bucket in (TOKEN_BUCKET, STATE_BUCKET):
                for key, entry in kept.get(bucket, {}).items():
                    self._write(bucket, key, entry)
        except (AttributeError, KeyError, TypeError, ValueError):
            detail(f"{shown(KEPT_OBJECTS)} is damaged and left aside")

    def _make_bucket(self, bucket: str) -> None:
        self._s3.create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        self._s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        self._s3.put_bucket_encryption(
            Bucket=bucket,
            ServerSideEncryptionConfiguration={
                "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
            },
        )

    def _keys(self, bucket: str, prefix: str = "") -> Iterator[str]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for page in pages:
            yield from (entry["Key"] for entry in page.get("Contents", ()))

    def _read(self, bucket: str, key: str) -> dict[str, Any]:
        answer = self._s3.get_object(Bucket=bucket, Key=key)
        return {
            "body": base64.b64encode(answer["Body"].read()).decode(),
            "content_type": answer["ContentType"],
            "metadata": answer["Metadata"],
        }

    def _write(self, bucket: str, key: str, entry: Mapping[str, Any]) -> None:
        self._s3.put_object(
            Bucket=bucket,
            Key=key,
            Body=base64.b64decode(entry["body"]),
            ContentType=entry["content_type"],
            Metadata=entry["metadata"],
        )

    def _receive(self) -> Iterator[Message]:
        while batch := self._sqs.receive_message(
            QueueUrl=self.queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=0
        ).get("Messages"):
            for received in batch:
                envelope = json.loads(received["Body"])
                attributes = envelope.get("MessageAttributes", {})
                yield Message(
                    envelope["Message"],
                    {name: attribute["Value"] for name, attribute in attributes.items()},
                    envelope.get("Subject"),
                )


def start(
    processes: Processes,
    settings: Settings,
    env: Mapping[str, str],
    server: Sequence[object] = ("-m", "moto.server"),
) -> Emulator:
    """Starts an empty emulator."""
    step("Starting an AWS emulator")
    port = settings.port(NAME)
    settings.save()
    command = [sys.executable, *server, "-H", LOOPBACK, "-p", str(port)]
    child = processes.start(f"the {NAME}", command, env=env, cwd=LOCAL, log=LOG)
    wait_until_up(child, port, "/moto-api/data.json", timeout=UP_SECONDS)
    endpoint = f"http://{LOOPBACK}:{port}"
    detail(f"{endpoint}, log in {shown(LOG)}")
    return Emulator(endpoint)


EMULATOR_ERRORS = (BotoCoreError, ClientError)


def refused(problem: Exception) -> Failure:
    """A refusal of the emulator as a sentence."""
    return Failure(f"the {NAME} refused: {problem}", f"its log is in {shown(LOG)}")
