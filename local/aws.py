"""The AWS emulator, moto: started, furnished, and kept between runs as far as S3 goes."""

import functools
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

import processes
from console import Failure, detail, step
from workspace import LOCAL, shown, write_private

LOG = LOCAL / "aws.log"
KEPT_OBJECTS = LOCAL / "objects.json"
REGION = "eu-central-1"
TOKEN_BUCKET = "token-harvester-local-tokens"
STATE_BUCKET = "token-harvester-local-state"
TOPIC = "token-harvester-local"
TOPIC_ARN = f"arn:aws:sns:{REGION}:123456789012:{TOPIC}"
QUEUE = "token-harvester-local-subscriber"


def start(server: Sequence[object] = ("-m", "moto.server")) -> None:
    """Starts an empty emulator, which is the AWS of this process and its children from then on."""
    step("Starting an AWS emulator")
    port = processes.free_port(18101)
    command = [sys.executable, *server, "-H", "127.0.0.1", "-p", port]
    processes.start_server("the AWS emulator", command, port, LOG)
    os.environ.update(
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}",
        AWS_DEFAULT_REGION=REGION,
        AWS_ACCESS_KEY_ID="local",  # it takes any
        AWS_SECRET_ACCESS_KEY="local",
    )
    detail(f"http://127.0.0.1:{port}, log in {shown(LOG)}")


@contextmanager
def refusals_as_failures() -> Iterator[None]:
    """Makes a sentence of what the emulator refuses."""
    try:
        yield
    except (BotoCoreError, ClientError) as problem:
        raise Failure(f"the AWS emulator refused: {problem}", f"its log is {shown(LOG)}") from None


@functools.cache
def client(service: str) -> Any:
    """A client of one of its services."""
    return boto3.client(service, config=Config(retries={"total_max_attempts": 1}))


def furnish(secrets: Mapping[str, str]) -> None:
    """Makes the buckets, the topic with its subscriber, and the secrets by name."""
    for bucket in (TOKEN_BUCKET, STATE_BUCKET):
        where, versions = {"LocationConstraint": REGION}, {"Status": "Enabled"}
        client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration=where)
        client("s3").put_bucket_versioning(Bucket=bucket, VersioningConfiguration=versions)
    client("sns").create_topic(Name=TOPIC)
    client("sqs").create_queue(QueueName=QUEUE)
    queue_arn = TOPIC_ARN.replace(":sns:", ":sqs:").replace(TOPIC, QUEUE)
    client("sns").subscribe(TopicArn=TOPIC_ARN, Protocol="sqs", Endpoint=queue_arn)
    detail("in it two buckets, a topic, a queue subscribed to the topic, and the secrets")
    for name, text in secrets.items():
        secret = f"token-harvester/{name}"
        client("secretsmanager").create_secret(Name=secret, SecretString=text)
        detail(f"  {secret}")


def function_environment() -> dict[str, str]:
    """What the function is configured with, to work in this emulator and nowhere else."""
    return {
        **os.environ,
        "AWS_REGION": REGION,
        "TOKEN_BUCKET": TOKEN_BUCKET,
        "STATE_BUCKET": STATE_BUCKET,
        "TOPIC_ARN": TOPIC_ARN,
        "SECRET_PREFIX": "token-harvester/",
        "ENVIRONMENT": "local",
        "SCHEDULE_INTERVAL": "15m",
        "ALLOW_LOOPBACK_HTTP": "1",  # the authorization server's
    }


def document(bucket: str, key: str, **version: str) -> Any:
    """A JSON object in a bucket."""
    return json.load(client("s3").get_object(Bucket=bucket, Key=key, **version)["Body"])


def keys(bucket: str, prefix: str = "") -> list[str]:
    """Names of the objects in a bucket."""
    pages = client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [entry["Key"] for page in pages for entry in page.get("Contents", ())]


def grants() -> dict[str, dict[str, Any]]:
    """What the function saved for each source's next refresh. It holds credentials."""
    return {
        key.removeprefix("grants/").removesuffix(".json"): document(STATE_BUCKET, key)
        for key in keys(STATE_BUCKET, "grants/")
    }


def leases() -> list[str]:
    """Keys of the leases that a run holds, or left behind."""
    return keys(STATE_BUCKET, "leases/")


def received_messages(queue: str = QUEUE) -> list[dict[str, Any]]:
    """Everything that a subscriber of the topic has received so far, in order."""
    url = client("sqs").get_queue_url(QueueName=queue)["QueueUrl"]
    received: list[dict[str, Any]] = []
    take = functools.partial(client("sqs").receive_message, QueueUrl=url, MaxNumberOfMessages=10)
    while batch := take().get("Messages"):
        received += [json.loads(message["Body"]) for message in batch]
    return received


def keep_objects() -> None:
    """Saves the newest version of every object but reports, for the next run."""
    kept = []
    for bucket in (TOKEN_BUCKET, STATE_BUCKET):
        for key in keys(bucket):
            if not key.startswith("reports/"):
                found = client("s3").get_object(Bucket=bucket, Key=key)
                same = {name: found[name] for name in ("ContentType", "Metadata")}
                text = found["Body"].read().decode()
                kept.append({"Bucket": bucket, "Key": key, "Body": text, **same})
    write_private(KEPT_OBJECTS, json.dumps(kept, indent=2))


def restore_objects() -> None:
    """Puts back what the last run saved."""
    for kept in json.loads(KEPT_OBJECTS.read_text()) if KEPT_OBJECTS.exists() else ():
        client("s3").put_object(**kept)
