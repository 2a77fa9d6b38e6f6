"""The policies suffice, and nothing in them is too much: tried with the real binary."""

from __future__ import annotations

import json
import re
import unittest
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from botocore.exceptions import ClientError

from iam import ACCOUNT, POLICIES, listed, policy
from stage import BREAK_GLASS, BUCKETS, PREFIX, Stage, binary

EVERYTHING = {"Sid": "All", "Effect": "Allow", "Action": "*", "Resource": "*"}
ALL_ACTIONS = {"Version": "2012-10-17", "Statement": [EVERYTHING]}


def without(document: Mapping[str, Any], sid: str, action: str) -> dict[str, Any]:
    """A policy with one action of one statement less."""
    rest = deepcopy(dict(document))
    for statement in rest["Statement"]:
        if statement["Sid"] == sid:
            actions = listed(statement["Action"])
            statement["Action"] = [other for other in actions if other != action]
    rest["Statement"] = [statement for statement in rest["Statement"] if statement["Action"]]
    return rest


class Policies(unittest.TestCase):
    stage: Stage

    @classmethod
    def setUpClass(cls) -> None:
        if not binary().exists():
            raise AssertionError(f"there is no {binary()}: `cargo build --bin bootstrap` makes it")
        cls.stage = Stage()
        cls.addClassCleanup(cls.stage.close)

    def refused(self, act: Callable[..., Any], **arguments: Any) -> None:
        with self.assertRaises(ClientError) as caught:
            act(**arguments)
        self.assertIn(
            caught.exception.response["Error"]["Code"],
            ("AccessDenied", "AccessDeniedException", "403"),
        )

    def test_every_template_is_json_once_filled_in(self) -> None:
        for template in POLICIES.glob("*.tftpl"):
            with self.subTest(template.name):
                text = template.read_text(encoding="utf-8")
                self.assertNotIn("%{", text, "the tests fill in values only")
                values = dict.fromkeys(re.findall(r"\$\{(\w+)\}", text), "x") | {"principals": "[]"}
                document = policy(template.name.removesuffix(".json.tftpl"), **values)
                sids = [statement["Sid"] for statement in document["Statement"]]
                self.assertEqual(len(sids), len(set(sids)))

    def test_the_function_works_with_its_policy(self) -> None:
        values = self.stage.furnish()
        role = self.stage.role("function", policy("function", **values))
        self.assertEqual(self.stage.harvest_twice(role), [])

    def test_the_function_needs_every_statement_and_every_action(self) -> None:
        for statement in policy("function", **self.stage.furnish())["Statement"]:
            for action in listed(statement["Action"]):
                with self.subTest(statement["Sid"], action=action):
                    values = self.stage.furnish()
                    rest = without(policy("function", **values), statement["Sid"], action)
                    troubles = self.stage.harvest_twice(self.stage.role("function", rest))
                    self.assertNotEqual(troubles, [], "nothing failed without it")

    def test_the_function_may_nothing_else(self) -> None:
        values = self.stage.furnish()
        role = self.stage.role("function", policy("function", **values))
        self.assertEqual(self.stage.harvest_twice(role), [])
        s3, secrets = self.stage.client("s3", role), self.stage.client("secretsmanager", role)
        token = {"Bucket": BUCKETS["tokens"], "Key": "tokens/rotating.json"}
        s3.head_object(**token)
        self.refused(s3.get_object, **token)
        self.refused(s3.delete_object, **token)
        self.refused(s3.put_object, **token | {"Key": "elsewhere"}, Body=b"", **self.sse("token"))
        secrets.get_secret_value(SecretId=f"{PREFIX}rotating")
        self.refused(secrets.get_secret_value, SecretId="somebody-elses")
        self.refused(secrets.put_secret_value, SecretId=f"{PREFIX}rotating", SecretString="{}")
        self.refused(self.stage.client("iam", role).list_roles)

    def test_buckets_take_only_what_is_encrypted_with_their_key(self) -> None:
        self.stage.furnish()
        s3 = self.stage.client("s3", self.stage.role("function", ALL_ACTIONS))
        for bucket, own, other in (("tokens", "token", "state"), ("state", "state", "token")):
            there = {"Bucket": BUCKETS[bucket], "Key": "tokens/x.json", "Body": b"{}"}
            s3.put_object(**there, **self.sse(own))
            self.refused(s3.put_object, **there)
            self.refused(s3.put_object, **there, ServerSideEncryption="AES256")
            self.refused(s3.put_object, **there, **self.sse(other))

    def test_the_state_bucket_denies_everybody_else(self) -> None:
        self.stage.furnish()
        there = {"Bucket": BUCKETS["state"], "Key": "grants/x.json"}
        admin = self.stage.client("s3", self.stage.role("administrator", ALL_ACTIONS))
        self.refused(admin.put_object, **there, Body=b"{}", **self.sse("state"))
        function = self.stage.client("s3", self.stage.role("function", ALL_ACTIONS))
        function.put_object(**there, Body=b"{}", **self.sse("state"))
        self.refused(admin.get_object, **there)
        self.refused(admin.delete_object, **there)
        self.refused(admin.list_object_versions, Bucket=BUCKETS["state"])
        # What Terraform needs to look after the bucket.
        admin.head_bucket(Bucket=BUCKETS["state"])
        admin.get_bucket_policy(Bucket=BUCKETS["state"])
        self.assertEqual(BREAK_GLASS, f"arn:aws:iam::{ACCOUNT}:role/break-glass")
        person = self.stage.client("s3", self.stage.role("break-glass", ALL_ACTIONS))
        person.get_object(**there)

    def test_a_reader_reads_one_token_and_nothing_more(self) -> None:
        values = self.stage.furnish()
        role = self.stage.role("function", policy("function", **values))
        self.assertEqual(self.stage.harvest_twice(role), [])
        document = policy("reader", source="rotating", **values)
        s3 = self.stage.client("s3", self.stage.role("reader", document))
        token = {"Bucket": BUCKETS["tokens"], "Key": "tokens/rotating.json"}
        self.assertEqual(json.load(s3.get_object(**token)["Body"])["access_token"], "token")
        self.refused(s3.get_object, **token | {"Key": "tokens/recovering.json"})
        self.refused(s3.put_object, **token, Body=b"", **self.sse("token"))
        self.refused(s3.list_objects_v2, Bucket=BUCKETS["tokens"])
        self.refused(s3.get_object, Bucket=BUCKETS["state"], Key="grants/rotating.json")

    def sse(self, key: str) -> dict[str, str]:
        """How a request says which key it wants."""
        key_arn = self.stage.values[f"{key}_key_arn"]
        return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key_arn}


if __name__ == "__main__":
    unittest.main()
