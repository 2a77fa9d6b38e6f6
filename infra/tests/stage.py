"""What the function is tested on: moto furnished like a deployment, Lambda, and a token endpoint."""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from moto import settings
from moto.core.authorization import ActionAuthenticatorMixin
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from iam import ACCOUNT, REGION, enforce, policy

ROOT = Path(__file__).resolve().parent.parent.parent
PREFIX = "token-harvester/"
PATIENCE = 60.0
BUCKETS = {use: f"token-harvester-{use}-{ACCOUNT}-{REGION}" for use in ("tokens", "state")}
LOG_GROUP = "/aws/lambda/token-harvester"
BREAK_GLASS = f"arn:aws:iam::{ACCOUNT}:role/break-glass"
EVERYBODY = f"arn:aws:*:*:{ACCOUNT}:*"
"""Who is meant where nobody is named, as storage.tf has it: everybody in this account."""


def binary() -> Path:
    """The function, as `cargo build` leaves it."""
    return Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "debug" / "bootstrap"


class Server(ThreadingHTTPServer):
    """A server on loopback that one function answers for: path and body to status and JSON."""

    daemon_threads = True

    def __init__(self, answer: Callable[[str, bytes], tuple[int, Any, dict[str, str]]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, content, headers = answer(self.path, body)
                text = json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """A client that was ended while it waited is no error."""


class Stage:
    """An emulator with IAM enforced, and what a deployment has in it."""

    def __init__(self) -> None:
        enforce()
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
        self._moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._moto.start()
        self.endpoint = "http://{}:{}".format(*self._moto.get_host_and_port())
        self._refused = 0
        self._tokens = Server(self._token)

    def close(self) -> None:
        self._enforce(False)
        self._tokens.close()
        self._moto.stop()

    def furnish(self, readers: Sequence[str] = (), operators: Sequence[str] = ()) -> dict[str, str]:
        """Everything anew, with what roles are named as readers and operators. One list, so it is long.

        Returns the values that the policies are filled in with.
        """
        self._enforce(False)
        moto_api_backend.reset()
        owner = self.client
        here = {
            "partition": "aws",
            "region": REGION,
            "account": ACCOUNT,
            "dns_suffix": "amazonaws.com",
        }
        function = f"arn:aws:iam::{ACCOUNT}:role/function"
        trusted = [function, BREAK_GLASS]
        account = [f"arn:aws:iam::{ACCOUNT}:root"]
        key_policies = {
            use: policy(
                "bucket-key",
                encrypting_roles=json.dumps(trusted),
                decrypting_roles=json.dumps(named or [EVERYBODY]),
                accounts=json.dumps(account),
                **here,
            )
            for use, named in (
                ("tokens", readers),
                ("state", operators and [*trusted, *operators]),
            )
        } | {"messages": policy("messages-key", publishing_role=function, **here)}
        keys = {
            use: owner("kms").create_key(Policy=json.dumps(document))["KeyMetadata"]["Arn"]
            for use, document in key_policies.items()
        }
        for bucket in BUCKETS.values():
            owner("s3").create_bucket(
                Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
            )
            owner("s3").put_bucket_versioning(
                Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
            )
        topic = owner("sns").create_topic(
            Name="token-harvester", Attributes={"KmsMasterKeyId": keys["messages"]}
        )
        failures = owner("sqs").create_queue(QueueName="token-harvester-failures-dead-letters")
        owner("logs").create_log_group(logGroupName=LOG_GROUP)
        values = here | {
            "secret_prefix": PREFIX,
            "token_bucket_arn": f"arn:aws:s3:::{BUCKETS['tokens']}",
            "state_bucket_arn": f"arn:aws:s3:::{BUCKETS['state']}",
            "token_key_arn": keys["tokens"],
            "state_key_arn": keys["state"],
            "token_key_arns": json.dumps([keys["tokens"]]),
            "state_key_arns": json.dumps([keys["state"]]),
            "function_arn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:token-harvester",
            "schedule_group": "token-harvester",
            "dead_letters_arns": json.dumps(
                [f"arn:aws:sqs:{REGION}:{ACCOUNT}:token-harvester-failures-dead-letters"]
            ),
            "messages_key_arn": keys["messages"],
            "topic_arn": topic["TopicArn"],
            "log_group_arn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{LOG_GROUP}",
            "failures_queue_arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:"
            + failures["QueueUrl"].rpartition("/")[2],
        }
        for use, key in (("tokens", "token"), ("state", "state")):
            document = policy(
                f"{key}-bucket",
                bucket_arn=values[f"{key}_bucket_arn"],
                key_arns=values[f"{key}_key_arns"],
                principals=json.dumps(trusted),
                accounts=json.dumps(account),
                readers=json.dumps(list(readers) or [EVERYBODY]),
                documents=json.dumps([f"{values['token_bucket_arn']}/tokens/*"]),
                others_than=json.dumps(
                    [*trusted, *readers, *operators] if readers else [EVERYBODY]
                ),
            )
            owner("s3").put_bucket_policy(Bucket=BUCKETS[use], Policy=json.dumps(document))
        self.values, self.failures_url = values, failures["QueueUrl"]
        self._refused = 0
        client = {"client_id": "client", "client_secret": "secret"}
        for name, fields in {
            PREFIX + "rotating": {"refresh_token": "first"},
            PREFIX + "recovering": {"scope": "at-first-refused"},
            "somebody-elses": {},
        }.items():
            text = json.dumps(
                {"token_endpoint": f"http://{self._tokens.address}/token", **client, **fields}
            )
            owner("secretsmanager").create_secret(Name=name, SecretString=text)
        return values

    def role(self, name: str, document: Mapping[str, Any], anew: bool = False) -> dict[str, str]:
        """A role with this one policy; returns the environment of who has taken it on."""
        self._enforce(False)
        iam = self.client("iam")
        if anew:
            iam.delete_role_policy(RoleName=name, PolicyName="p")
            iam.delete_role(RoleName=name)
        trust = json.dumps(policy("function-trust", account=ACCOUNT))
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=json.dumps(document))
        taken = self.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
        self._enforce(True)
        return {
            "AWS_ACCESS_KEY_ID": taken["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": taken["SecretAccessKey"],
            "AWS_SESSION_TOKEN": taken["SessionToken"],
        }

    def client(self, service: str, credentials: Mapping[str, str] | None = None) -> Any:
        """A client of the owner of all, while nothing is enforced; or of a role."""
        known = credentials or {}
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=known.get("AWS_ACCESS_KEY_ID", "owner"),
            aws_secret_access_key=known.get("AWS_SECRET_ACCESS_KEY", "owner"),
            aws_session_token=known.get("AWS_SESSION_TOKEN"),
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    def harvest_twice(self, credentials: Mapping[str, str]) -> list[str]:
        """Two runs of the real binary with these credentials, as Lambda has it run.

        In the first one source is refused by its server, in the second it recovers. Returns what
        went wrong besides, in words; nothing, if the credentials suffice.
        """
        answers: queue.Queue[tuple[str, Any]] = queue.Queue()
        events = iter([{}, {"force": True}])

        def runtime_api(path: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
            if path.endswith("/next"):
                event = next(events, None)
                if event is None:
                    time.sleep(PATIENCE)
                deadline = str(int((time.time() + PATIENCE) * 1000))
                return 200, event, {
                    "lambda-runtime-aws-request-id": "run",
                    "lambda-runtime-deadline-ms": deadline,
                    "lambda-runtime-invoked-function-arn": "arn:aws:lambda:::function:f",
                }  # fmt: skip
            answers.put((path.rpartition("/")[2], json.loads(body or b"null")))
            return 202, {}, {}

        lambda_service = Server(runtime_api)
        environment = {
            **credentials,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_LAMBDA_RUNTIME_API": lambda_service.address,
            "AWS_LAMBDA_FUNCTION_NAME": "token-harvester",
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_LOG_GROUP_NAME": LOG_GROUP,
            "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
            "TOKEN_BUCKET": BUCKETS["tokens"],
            "STATE_BUCKET": BUCKETS["state"],
            "TOPIC_ARN": self.values["topic_arn"],
            "SECRET_PREFIX": PREFIX,
            "TOKEN_KMS_KEY_ID": self.values["token_key_arn"],
            "STATE_KMS_KEY_ID": self.values["state_key_arn"],
            "ALLOW_LOOPBACK_HTTP": "1",
        }
        function = subprocess.Popen(
            [binary()], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            told = [answers.get(timeout=PATIENCE) for _ in range(2)]
        finally:
            function.kill()
            log = function.communicate()[0].decode()
            lambda_service.close()
        return [*_troubles(told), *_warnings(log), *self._what_lambda_may_not(credentials, log)]

    def _what_lambda_may_not(self, credentials: Mapping[str, str], log: str) -> list[str]:
        """Lambda writes the log and hands over failed events in the function's name."""
        logs = self.client("logs", credentials)
        stream = {"logGroupName": LOG_GROUP, "logStreamName": "stream"}
        line = {"timestamp": int(time.time() * 1000), "message": log.splitlines()[0]}
        troubles = []
        for what, act in {
            "a log stream": lambda: logs.create_log_stream(**stream),
            "the log": lambda: logs.put_log_events(**stream, logEvents=[line]),
            "a failed event": lambda: self.client("sqs", credentials).send_message(
                QueueUrl=self.failures_url, MessageBody="{}"
            ),
        }.items():
            try:
                act()
            except ClientError as error:
                troubles.append(f"{what}: {error.response['Error']['Code']}")
        return troubles

    def _enforce(self, on: bool) -> None:
        settings.INITIAL_NO_AUTH_ACTION_COUNT = 0 if on else float("inf")
        ActionAuthenticatorMixin.request_count = 0

    def _token(self, _path: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        if b"at-first-refused" in body and not self._refused:
            self._refused += 1
            return 400, {"error": "invalid_scope"}, {}
        granted = {"access_token": "token", "token_type": "Bearer", "expires_in": 3600}
        return 200, granted | ({"refresh_token": "next"} if b"refresh_token" in body else {}), {}


def _troubles(told: list[tuple[str, Any]]) -> list[str]:
    """What differs in the answers from two runs as they should be."""
    expected = [
        {"rotating": None, "recovering": "invalid_scope"},
        {"rotating": None, "recovering": None},
    ]
    troubles = []
    for (kind, answer), errors in zip(told, expected, strict=True):
        if kind != "response":
            troubles.append(f"{kind}: {answer['errorMessage']}")
            continue
        found = {line["source"]: (line["error"] or {}).get("code") for line in answer["sources"]}
        if found != errors:
            troubles.append(f"the report says {found}")
    return troubles


def _warnings(log: str) -> list[str]:
    """Warnings and errors in the log, but for the one of the source that is refused."""
    lines = [json.loads(line) for line in log.splitlines()]
    return [
        json.dumps(line)
        for line in lines
        if line.get("level") in ("WARN", "ERROR") and "invalid_scope" not in json.dumps(line)
    ]
