"""The policies suffice, and nothing in them is too much: tried with the real binary.

Who decides is a model of AWS (iam.py says what of it is AWS's documented behaviour): "needed" means
that the model would refuse the function without it. What only an account can show, such as a call
behind a call that the model does not know, no test here does.
"""

from __future__ import annotations

import json
import re
import unittest
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from botocore.exceptions import ClientError

from iam import ACCOUNT, POLICIES, Call, is_allowed, listed, policy
from stage import BREAK_GLASS, BUCKETS, EVERYBODY, PREFIX, Stage, binary

EVERYTHING = {"Sid": "All", "Effect": "Allow", "Action": "*", "Resource": "*"}
ALL_ACTIONS = {"Version": "2012-10-17", "Statement": [EVERYTHING]}
LEFT_TO_IAM = {
    "Statement": [EVERYTHING | {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}],
}
ADMIN = f"arn:aws:iam::{ACCOUNT}:role/administrator"
FOR_PEOPLE = ("incidents/x.json", "forecasts/x.json", "reports/2026-11-24/1.json", "catalog.json")


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
                values = dict.fromkeys(re.findall(r"\$\{(\w+)\}", text), "x")
                values |= dict.fromkeys(re.findall(r": \$\{(\w+)\}", text), "[]")
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

    def test_people_read_of_the_state_what_is_for_them(self) -> None:
        self.stage.furnish()
        function = self.stage.client("s3", self.stage.role("function", ALL_ACTIONS))
        admin = self.stage.client("s3", self.stage.role("administrator", ALL_ACTIONS))
        for key in ("incidents/x.json", "forecasts/x.json", "reports/2026/1.json", "catalog.json"):
            with self.subTest(key):
                there = {"Bucket": BUCKETS["state"], "Key": key}
                function.put_object(**there, Body=b"{}", **self.sse("state"))
                admin.get_object(**there)
                self.refused(admin.put_object, **there, Body=b"{}", **self.sse("state"))
                self.refused(admin.delete_object, **there)
        for key in ("grants/x.json", "leases/x", "connect/parked/x", "what-comes-next"):
            with self.subTest(key):
                there = {"Bucket": BUCKETS["state"], "Key": key}
                function.put_object(**there, Body=b"{}", **self.sse("state"))
                self.refused(admin.get_object, **there)
                self.refused(admin.head_object, **there)
                self.refused(admin.delete_object, **there)

    def test_the_function_keeps_reports_and_the_catalog(self) -> None:
        values = self.stage.furnish()
        s3 = self.stage.client("s3", self.stage.role("function", policy("function", **values)))
        for key in ("catalog.json", "reports/2026-11-24/120000-run.json"):
            there = {"Bucket": BUCKETS["state"], "Key": key}
            s3.put_object(**there, Body=b"{}", **self.sse("state"))
            s3.get_object(**there)

    def test_what_a_former_key_encrypted_is_read_and_replaced(self) -> None:
        values = self.stage.furnish()
        there = {"Bucket": BUCKETS["state"], "Key": "grants/x.json"}
        role = self.stage.role("function", policy("function", **values))
        self.stage.client("s3", role).put_object(**there, Body=b"{}", **self.sse("state"))
        new = values | {"state_key_arns": values["token_key_arns"]}  # as if it were the new one
        role = self.stage.role("function", policy("function", **new), anew=True)
        self.refused(self.stage.client("s3", role).get_object, **there)
        both = [*json.loads(values["token_key_arns"]), *json.loads(values["state_key_arns"])]
        document = policy("function", **values | {"state_key_arns": json.dumps(both)})
        role = self.stage.role("function", document, anew=True)
        self.stage.client("s3", role).get_object(**there)

    def test_the_state_key_decrypts_for_operators_once_they_are_named(self) -> None:
        operator = f"arn:aws:iam::{ACCOUNT}:role/on-call"
        values = self.stage.furnish(operators=[operator])
        there = {"Bucket": BUCKETS["state"], "Key": "incidents/x.json"}
        function = self.stage.client("s3", self.stage.role("function", ALL_ACTIONS))
        function.put_object(**there, Body=b"{}", **self.sse("state"))
        function.get_object(**there)
        on_call = self.stage.role("on-call", policy("on-call", **values))
        self.stage.client("s3", on_call).get_object(**there)
        admin = self.stage.client("s3", self.stage.role("administrator", ALL_ACTIONS))
        self.refused(admin.get_object, **there)

    def test_a_key_serves_through_s3_only(self) -> None:
        document = policy(
            "bucket-key",
            partition="aws",
            region="eu-central-1",
            account=ACCOUNT,
            dns_suffix="amazonaws.com",
            encrypting_roles="[]",
            decrypting_roles=json.dumps([EVERYBODY]),
            accounts=json.dumps([f"arn:aws:iam::{ACCOUNT}:root"]),
        )
        key = f"arn:aws:kms:eu-central-1:{ACCOUNT}:key/k"
        for context, action, allowed in (
            ({"kms:ViaService": "s3.eu-central-1.amazonaws.com"}, "kms:Decrypt", True),
            ({}, "kms:Decrypt", False),
            ({}, "kms:CreateGrant", False),
            ({}, "kms:ReEncryptFrom", False),
            ({}, "kms:PutKeyPolicy", True),
        ):
            with self.subTest(action, context=context):
                call = Call(action, key, context)
                self.assertEqual(is_allowed(call, [ALL_ACTIONS], ADMIN, document), allowed)

    def test_network_interfaces_are_lambdas_to_make_not_the_functions(self) -> None:
        function = f"arn:aws:lambda:eu-central-1:{ACCOUNT}:function:token-harvester"
        document = policy("function-network", function_arn=function)
        for context, allowed in (({}, True), ({"lambda:SourceFunctionArn": function}, False)):
            for action in listed(document["Statement"][0]["Action"]):
                with self.subTest(action, context=context):
                    call = Call(action, "*", context)
                    self.assertEqual(is_allowed(call, [document], ADMIN), allowed)

    def test_readers_that_are_named_keep_everybody_else_out(self) -> None:
        reader = f"arn:aws:iam::{ACCOUNT}:role/reader"
        operator = f"arn:aws:iam::{ACCOUNT}:role/viewer"
        values = self.stage.furnish(readers=[reader], operators=[operator])
        role = self.stage.role("function", policy("function", **values))
        self.assertEqual(self.stage.harvest_twice(role), [])
        token = {"Bucket": BUCKETS["tokens"], "Key": "tokens/rotating.json"}
        document = policy("reader", source="rotating", **values)
        self.stage.client("s3", self.stage.role("reader", document)).get_object(**token)
        admin = self.stage.client("s3", self.stage.role("administrator", ALL_ACTIONS))
        self.refused(admin.get_object, **token)
        self.refused(admin.head_object, **token)
        viewer = self.stage.client("s3", self.stage.role("viewer", ALL_ACTIONS))
        viewer.head_object(**token)
        self.refused(viewer.get_object, **token)

    def test_a_reader_of_another_account_reads_what_is_named(self) -> None:
        bucket = f"arn:aws:s3:::{BUCKETS['tokens']}"
        theirs = "arn:aws:iam::999999999999:role/etl"
        document = policy(
            "token-bucket",
            bucket_arn=bucket,
            key_arns="[]",
            accounts=json.dumps(["arn:aws:iam::999999999999:root"]),
            readers=json.dumps([theirs]),
            documents=json.dumps([f"{bucket}/tokens/acme-crm.json"]),
            others_than=json.dumps([theirs]),
        )
        for caller, key, allowed in (
            (theirs, "tokens/acme-crm.json", True),
            (theirs, "tokens/globex.json", False),
            ("arn:aws:iam::999999999999:role/other", "tokens/acme-crm.json", False),
            (ADMIN, "tokens/acme-crm.json", False),
        ):
            with self.subTest(caller, key=key):
                call = Call("s3:GetObject", f"{bucket}/{key}", {})
                self.assertEqual(is_allowed(call, [ALL_ACTIONS], caller, document), allowed)
                self.assertFalse(is_allowed(call, [], caller, document))

    def test_on_call_looks_and_mends_definitions(self) -> None:
        values = self.stage.furnish()
        self.has_run(values)
        role = self.stage.role("on-call", policy("on-call", **values))
        self.sees_state_and_no_token(role)
        secrets = self.stage.client("secretsmanager", role)
        name = f"{PREFIX}rotating"
        secrets.put_secret_value(
            SecretId=name, SecretString=secrets.get_secret_value(SecretId=name)["SecretString"]
        )
        self.refused(secrets.get_secret_value, SecretId="somebody-elses")
        self.refused(secrets.put_secret_value, SecretId="somebody-elses", SecretString="{}")
        self.refused(secrets.delete_secret, SecretId=name)
        document = policy("on-call", **values)
        for action, resource, allowed in (
            ("lambda:InvokeFunction", values["function_arn"], True),
            ("lambda:UpdateFunctionCode", values["function_arn"], False),
            ("logs:FilterLogEvents", values["log_group_arn"], True),
            ("kms:Decrypt", values["token_key_arn"], False),
        ):
            with self.subTest(action):
                key_policy = LEFT_TO_IAM if action.startswith("kms:") else None
                call = Call(action, resource, {})
                self.assertEqual(is_allowed(call, [document], ADMIN, key_policy), allowed)

    def test_a_viewer_looks_and_sees_no_secret(self) -> None:
        values = self.stage.furnish()
        self.has_run(values)
        role = self.stage.role("viewer", policy("viewer", **values))
        self.sees_state_and_no_token(role)
        secrets = self.stage.client("secretsmanager", role)
        self.refused(secrets.get_secret_value, SecretId=f"{PREFIX}rotating")
        call = Call("lambda:InvokeFunction", values["function_arn"], {})
        self.assertFalse(is_allowed(call, [policy("viewer", **values)], ADMIN))

    def test_a_viewer_needs_every_statement(self) -> None:
        document = policy("viewer", **self.stage.furnish())
        for statement in document["Statement"]:
            if statement["Sid"] == "FindTheDeployment":
                continue  # moto has no function here; the one of InvokeFunction above tries it
            for action in listed(statement["Action"]):
                with self.subTest(statement["Sid"]):
                    values = self.stage.furnish()
                    self.has_run(values)
                    rest = without(policy("viewer", **values), statement["Sid"], action)
                    with self.assertRaises(ClientError):
                        self.sees_state_and_no_token(self.stage.role("viewer", rest))

    def has_run(self, values: dict[str, str]) -> None:
        """The function has run; what it will keep besides is put in its name."""
        role = self.stage.role("function", policy("function", **values))
        self.assertEqual(self.stage.harvest_twice(role), [])
        s3 = self.stage.client("s3", role)
        for key in FOR_PEOPLE:
            s3.put_object(Bucket=BUCKETS["state"], Key=key, Body=b"{}", **self.sse("state"))

    def sees_state_and_no_token(self, role: Mapping[str, str]) -> None:
        s3 = self.stage.client("s3", role)
        token = {"Bucket": BUCKETS["tokens"], "Key": "tokens/rotating.json"}
        s3.head_object(**token)
        self.refused(s3.get_object, **token)
        self.refused(s3.put_object, **token, Body=b"", **self.sse("token"))
        for use in ("tokens", "state"):
            s3.list_objects_v2(Bucket=BUCKETS[use])
            self.refused(s3.list_object_versions, Bucket=BUCKETS[use])
        for key in FOR_PEOPLE:
            s3.get_object(Bucket=BUCKETS["state"], Key=key)
        self.refused(s3.get_object, Bucket=BUCKETS["state"], Key="grants/rotating.json")
        self.refused(s3.delete_object, Bucket=BUCKETS["state"], Key="leases/rotating")

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
