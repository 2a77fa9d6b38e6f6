"""Every command of the documents for people on call works, in a plain shell, with the right that it names."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.config import Config

sys.path.insert(0, str(Path(__file__).parent.parent))

from moto.core.config import default_user_config
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from tools import AWS_CLI
from workspace import ROOT

import rights
from rights import PREFIX, QUEUE, REGION, STATE, TOKENS

SOURCE = "acme-crm"
RIGHTS = tuple(rights.POLICIES)
REPORT = {
    "run_id": "run-1",
    "started_at": "2026-11-20T22:00:00Z",
    "sources": [
        {"source": SOURCE, "outcome": "refreshed", "error": None, "expires_at": None, "attempts": 1}
    ],
    **dict.fromkeys(("refreshed", "fresh", "deferred", "failed"), 0),
    "warnings": [{"code": "schedule_too_slow", "source": SOURCE, "message": "too slow"}],
}

NOT_PORTABLE = {
    r"\bdate (-d|--date|-v)": "GNU's and BSD's `date` differ",
    r"\bshred\b": "not on macOS",
    r"\bsed -i": "GNU's and BSD's `sed` differ",
    r"\breadlink -f\b": "not on older macOS",
    r"\bgrep -P\b": "not on macOS",
    r"(^|\s)\[\[|<<<|\bfunction \w|\bdeclare\b": "not every shell's",
    r"\s#\s|^#": "zsh takes no comments at its prompt",
}


class Block(NamedTuple):
    """A code block, with where it stands."""

    document: str
    heading: str
    code: str
    right: str | None
    """Which right the text before it names."""


def blocks(document: str) -> list[Block]:
    """The shell code of a document."""
    found = []
    heading = ""
    text = ""
    code: list[str] | None = None
    for line in (ROOT / "docs" / document).read_text(encoding="utf-8").splitlines():
        stripped = line.strip()
        if code is not None and stripped == "```":
            named = re.findall(r"Right: ([a-z-]+)", " ".join(text.split()))
            right = named[-1] if named else None
            indent = min(len(x) - len(x.lstrip()) for x in code if x.strip())
            dedented = "\n".join(x[indent:] for x in code)
            found.append(Block(document, heading, dedented, right))
            code, text = None, ""
        elif code is not None:
            code.append(line)
        elif stripped == "```sh":
            code = []
        elif line.startswith("#"):
            heading, text = line.lstrip("# "), ""
        else:
            text += line + "\n"
    return found


ALL = [*blocks("runbook.md"), *blocks("operations.md")]
PREAMBLE = next(block for block in ALL if "harvest() {" in block.code)


def sections(document: str) -> dict[str, list[Block]]:
    """The commands for AWS of a document, by heading."""
    found: dict[str, list[Block]] = {}
    for block in ALL:
        about_aws = re.search(r"\b(aws|harvest) ", block.code) and "curl" not in block.code
        if block.document == document and about_aws and block is not PREAMBLE:
            found.setdefault(block.heading, []).append(block)
    return found


UNKNOWN_TO_THE_EMULATOR = ("aws sqs start-message-move-task",)
"""Only parsed."""

SHOWN = {
    "definition_invalid": '"object"',
    "source_unknown": f"{SOURCE} in {SOURCE}",
    "secret_unreadable": rf'"name": "{PREFIX}{SOURCE}"',
    "token_store_failed": '"generation": "7"',
    "grant_store_failed": "Enabled",
    "out_of_time": '"timeout": 3',
    "no-runs": "token-harvester-all\tENABLED",
    "runs-fail": "Harvest.IncidentsUnkept",
    "token-expiring": "acme-crm -30 s",
    "dead-letters": "a run that failed",
    "Read the incident": '"code": "invalid_client"',
    "List open incidents": f"incidents/{SOURCE}.json",
    "Read the latest reports": '"schedule_too_slow"',
    "Read the log": "panicked",
    "Force one source": '"outcome": "refreshed"',
    "Harvest one source if it is due": '"outcome": "refreshed"',
    "Try all dead grants": '"outcome": "refreshed"',
    "Dry run": '"outcome": "refreshed"',
    "Read a definition without its secrets": '"client_id": "data-jobs"',
    "Change a definition": "[0-9a-f-]{36}",
    "Look at the grant without its token": '"generation": 2',
    "Restore the previous grant": '"now": "',
    "Release a lease": '"run_id": "run-0"',
}
"""What each section's commands must show, as a pattern."""


AWS = """#!{python} -IS
import json, os, sys
with open("{calls}", "a") as calls:
    print(json.dumps([os.environ["AWS_PROFILE"], sys.argv[1:]]), file=calls)
# Not every client of the command heeds the variable with the emulator's address.
os.execv("{aws}", ["aws", "--endpoint-url", "{endpoint}", *sys.argv[1:]])
"""
"""The command, as the documents' code finds it."""

EMPTY_ZIP = b"PK\5\6" + bytes(18)


class Deployment:
    """What the commands are about, in the emulator."""

    def __init__(self) -> None:
        default_user_config["lambda"] = {"use_docker": False}
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
        self._moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._moto.start()
        self.endpoint = "http://{}:{}".format(*self._moto.get_host_and_port())
        self.key = self.new_key = ""

    def close(self) -> None:
        self._moto.stop()
        default_user_config["lambda"] = {"use_docker": True}

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="owner",
            aws_secret_access_key="owner",
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    def furnish(self) -> None:
        """Makes everything anew."""
        moto_api_backend.reset()
        kms = self.client("kms")
        self.key, self.new_key = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
        self._objects()
        definition = {
            "client_id": "data-jobs",
            "client_secret": "s3cret",
            "refresh_token": "s3cret",
        }
        secrets = self.client("secretsmanager")
        secrets.create_secret(Name=PREFIX + SOURCE, SecretString=json.dumps(definition))
        self._log()
        sqs = self.client("sqs")
        url = sqs.create_queue(QueueName=QUEUE)["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="a run that failed")
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        policy = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": 1}
        attributes = {"RedrivePolicy": json.dumps(policy)}
        sqs.create_queue(QueueName="token-harvester-jobs", Attributes=attributes)
        role = self.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]
        function = self.client("lambda").create_function(
            FunctionName="token-harvester",
            Role=role["Arn"],
            Runtime="provided.al2023",
            Handler="bootstrap",
            Code={"ZipFile": EMPTY_ZIP},
        )
        scheduler = self.client("scheduler")
        scheduler.create_schedule_group(Name="token-harvester")
        scheduler.create_schedule(
            Name="token-harvester-all",
            GroupName="token-harvester",
            ScheduleExpression="rate(5 minutes)",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={"Arn": function["FunctionArn"], "RoleArn": role["Arn"]},
        )

    def _objects(self) -> None:
        s3 = self.client("s3")
        for bucket in (TOKENS, STATE):
            s3.create_bucket(
                Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
            )
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        encrypted = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.key}
        for name in (SOURCE, SOURCE, f"{SOURCE}.json"):
            s3.put_object(
                Bucket=TOKENS,
                Key=f"tokens/{name}.json",
                Body=b"{}",
                Metadata={"generation": "7"},
                **encrypted,
            )
        for name, document in (
            (f"incidents/{SOURCE}.json", {"error": {"code": "invalid_client"}}),
            (f"grants/{SOURCE}.json", {"refresh_token": "s3cret-1", "generation": 1}),
            (f"grants/{SOURCE}.json", {"refresh_token": "s3cret-2", "generation": 2}),
            (f"grants/{SOURCE}.json.json", {"refresh_token": "s3cret-3", "generation": 1}),
            (f"forecasts/{SOURCE}.json", {"days": 7}),
            (f"leases/{SOURCE}", {"run_id": "run-0", "expires_at": "2026-11-20T22:05:05Z"}),
            ("catalog.json", {"schema_version": 1, "sources": {SOURCE: {"secret": SOURCE}}}),
            ("reports/2026-11-19/220000-run-0.json", {**REPORT, "run_id": "older"}),
            ("reports/2026-11-20/220000-run-1.json", REPORT),
        ):
            s3.put_object(Bucket=STATE, Key=name, Body=json.dumps(document).encode(), **encrypted)

    def _log(self) -> None:
        logs = self.client("logs")
        stream = {"logGroupName": "/aws/lambda/token-harvester", "logStreamName": "stream"}
        logs.create_log_group(logGroupName=stream["logGroupName"])
        logs.create_log_stream(**stream)
        now = int(time.time() * 1000)
        lines: list[dict[str, Any]] = [
            {"level": "ERROR", "message": "panicked", "source.name": SOURCE, "run.id": "run-1"},
            {"errorType": "Harvest.IncidentsUnkept"},
            {"seconds_above_min_ttl": -30, "lowest_source": SOURCE},
            {"seconds_above_min_ttl": 500, "lowest_source": "other"},
        ]
        logs.put_log_events(
            **stream, logEvents=[{"timestamp": now, "message": json.dumps(line)} for line in lines]
        )

    def versions(self, bucket: str) -> set[str]:
        """Keys of which any version is left, or a delete marker."""
        found = self.client("s3").list_object_versions(Bucket=bucket)
        return {
            entry["Key"] for kind in ("Versions", "DeleteMarkers") for entry in found.get(kind, ())
        }

    def grant(self) -> dict[str, Any]:
        """The source's grant as it is now."""
        found = self.client("s3").get_object(Bucket=STATE, Key=f"grants/{SOURCE}.json")
        document: dict[str, Any] = json.load(found["Body"])
        return document

    def lose(self) -> None:
        """Deletes a secret, a grant and a key, so that they can be restored."""
        self.client("secretsmanager").delete_secret(SecretId=PREFIX + SOURCE)
        self.client("s3").delete_object(Bucket=STATE, Key=f"grants/{SOURCE}.json")
        self.client("kms").schedule_key_deletion(KeyId=self.key.rpartition("/")[2])

    def is_restored(self) -> bool:
        """Whether they are there again, and the function of the lost region is stopped."""
        self.client("secretsmanager").get_secret_value(SecretId=PREFIX + SOURCE)
        key = self.client("kms").describe_key(KeyId=self.key)["KeyMetadata"]
        concurrency = self.client("lambda").get_function_concurrency(FunctionName="token-harvester")
        return (
            self.grant()["generation"] == 2
            and key["KeyState"] == "Enabled"
            and concurrency["ReservedConcurrentExecutions"] == 0
        )

    def is_removed(self) -> bool:
        """Whether nothing is left of the source, and all of another one with a similar name."""
        secrets = self.client("secretsmanager").list_secrets()["SecretList"]
        state = {key for key in self.versions(STATE) if key.startswith(("grants/", "forecasts/"))}
        return (
            not secrets
            and state == {f"grants/{SOURCE}.json.json"}
            and self.versions(TOKENS) == {f"tokens/{SOURCE}.json.json"}
        )

    def is_under_the_new_key(self) -> bool:
        """Whether the grants have moved, and are what they were."""
        grant = self.client("s3").head_object(Bucket=STATE, Key=f"grants/{SOURCE}.json")
        moved: bool = grant["SSEKMSKeyId"] == self.new_key
        return moved and self.grant()["generation"] == 2

    def answer_with(self, report: object) -> None:
        """What the function answers next; the emulator runs none."""
        results = {"results": [json.dumps(report)], "region": REGION}
        request = urllib.request.Request(
            f"{self.endpoint}/moto-api/static/lambda-simple/response",
            json.dumps(results).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).close()


class Commands(unittest.TestCase):
    deployment: Deployment

    @classmethod
    def setUpClass(cls) -> None:
        cls.deployment = Deployment()
        cls.addClassCleanup(cls.deployment.close)

    def setUp(self) -> None:
        self.deployment.furnish()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        aws = self.folder / "aws"
        aws.write_text(
            AWS.format(
                python=sys.executable,
                aws=AWS_CLI.bin / "aws",
                calls=self.folder / "calls",
                endpoint=self.deployment.endpoint,
            )
        )
        aws.chmod(0o700)
        (self.folder / "credentials").write_text(
            "".join(
                f"[{right}]\naws_access_key_id = {right}\naws_secret_access_key = {right}\n"
                for right in RIGHTS
            )
        )
        (self.folder / "before.zip").write_bytes(EMPTY_ZIP)

    def run_code(self, code: str, right: str) -> str:
        """Runs commands as a person would; returns what they showed."""
        environment = {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.folder / "credentials"),
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PROFILE": right,
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_PAGER": "",
            "EDITOR": "true",
            "NO_PROXY": "127.0.0.1",
            "KEY": self.deployment.key.rpartition("/")[2],  # an ARN for AWS, not for the emulator
            "NEW_KEY": self.deployment.new_key,
        }
        answer = subprocess.run(
            ["/bin/sh", "-eu"],
            check=False,
            input=f"{PREAMBLE.code}\n{code}\n",
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
        self.assertEqual((answer.returncode, answer.stderr), (0, ""), f"{code}\n{answer.stdout}")
        return answer.stdout

    def run_section(self, section: list[Block], default_right: str | None = None) -> str:
        """Runs a section's commands one after the other, each block with the right that it names."""
        self.deployment.answer_with(REPORT)
        code = []
        for block in section:
            right = block.right or default_right
            self.assertIn(right, RIGHTS, f"{block.heading} names no right")
            commands = block.code
            for command in UNKNOWN_TO_THE_EMULATOR:
                commands = commands.replace(command, f"{command} --generate-cli-skeleton")
            code += [f"export AWS_PROFILE={right}", commands]
        shown = self.run_code("\n".join(code), "viewer")
        self.assertNotIn("s3cret", shown)
        calls = (self.folder / "calls").read_text().splitlines()
        (self.folder / "calls").unlink()
        self.assertTrue(calls)
        self.assertEqual([why for call in calls for why in rights.refused(*json.loads(call))], [])
        return shown

    def test_every_command_of_the_runbook_does_what_it_is_for(self) -> None:
        found = sections("runbook.md")
        self.assertEqual(found.keys(), SHOWN.keys())
        for heading, section in found.items():
            with self.subTest(heading):
                self.assertRegex(self.run_section(section), SHOWN[heading])

    def test_every_command_of_operations_does_what_it_is_for(self) -> None:
        found = sections("operations.md")
        self.assertEqual(found.keys(), DONE.keys())
        for heading, section in found.items():
            with self.subTest(heading):
                self.deployment.furnish()
                prepare, check = DONE[heading]
                prepare(self.deployment)
                self.run_section(section, "deployer")
                self.assertTrue(check(self.deployment))

    def test_what_is_for_others_is_refused(self) -> None:
        grant, incident, lease = (
            f"arn:aws:s3:::{STATE}/{key}"
            for key in (f"grants/{SOURCE}.json", f"incidents/{SOURCE}.json", f"leases/{SOURCE}")
        )
        for right, action, resource in (
            ("on-call", "s3:GetObject", grant),
            ("deployer", "s3:GetObject", grant),
            ("deployer", "s3:DeleteObject", lease),
            ("on-call", "s3:DeleteObject", incident),
            ("viewer", "logs:FilterLogEvents", rights.LOG_GROUP),
            ("viewer", "lambda:InvokeFunction", rights.FUNCTION),
            ("on-call", "lambda:UpdateFunctionCode", rights.FUNCTION),
        ):
            with self.subTest(right, action=action, resource=resource):
                self.assertFalse(rights.may(right, rights.Call(action, resource, {})))

    def test_a_grant_that_is_restored_is_the_one_before(self) -> None:
        self.run_section(sections("runbook.md")["Restore the previous grant"])
        self.assertEqual(self.deployment.grant()["generation"], 1)

    def test_a_run_that_failed_is_told_from_a_report(self) -> None:
        failure = {"errorType": "Harvest.SourcesGone", "errorMessage": "none"}
        self.deployment.answer_with(failure)
        self.assertEqual(json.loads(self.run_code("harvest '{}'", "on-call")), failure)

    def test_what_is_not_there_is_said_as_the_text_says(self) -> None:
        for place in ("incidents/well.json", "leases/well"):
            command = f'aws s3 cp "s3://$STATE_BUCKET/{place}" - 2>&1 || true'
            self.assertRegex(self.run_code(command, "viewer"), "404|NoSuchKey")


DONE: dict[str, tuple[Callable[[Deployment], None], Callable[[Deployment], bool]]] = {
    "Upgrade": (lambda _: None, lambda _: True),
    "Roll back": (lambda _: None, lambda _: True),
    "Restore": (Deployment.lose, Deployment.is_restored),
    "Remove a source": (lambda _: None, Deployment.is_removed),
    "Move to other KMS keys": (lambda _: None, Deployment.is_under_the_new_key),
}
"""What is to be prepared for each section's commands, and whether they did what they are for."""


class Text(unittest.TestCase):
    def test_the_code_is_every_shells(self) -> None:
        self.assertGreater(len(ALL), 30)
        for block in ALL:
            for pattern, reason in NOT_PORTABLE.items():
                found = re.search(pattern, block.code, re.MULTILINE)
                self.assertIsNone(found, f"{block.heading}: {reason}")
            with self.subTest(block.heading, code=block.code):
                shells = filter(None, map(shutil.which, ("sh", "bash", "zsh")))
                for shell in shells:
                    checked = subprocess.run(
                        [shell, "-n"], check=False, input=block.code, capture_output=True, text=True
                    )
                    self.assertEqual((checked.returncode, checked.stderr), (0, ""))

    def test_every_link_leads_somewhere(self) -> None:
        documents = [
            *(ROOT / "docs").glob("*.md"),
            *ROOT.glob("*.md"),
            ROOT / "infra" / "README.md",
        ]
        for document in documents:
            for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
                if "://" in link:
                    continue
                file, _, anchor = link.partition("#")
                target = (document.parent / file).resolve() if file else document
                with self.subTest(document.name, link=link):
                    self.assertTrue(target.exists())
                    if anchor and target.suffix == ".md":
                        self.assertIn(anchor, anchors(target))


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as the usual pages make them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


if __name__ == "__main__":
    unittest.main()
