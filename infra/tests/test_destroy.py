"""Nothing is destroyed while there are tokens and grants. `make infra-local` tries it with Terraform."""

from __future__ import annotations

import re
import sys
import unittest
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

INFRA = Path(__file__).parent.parent
sys.path.append(str(INFRA.parent / "local"))

import destroy
from console import Failure

BUCKET = destroy.Bucket("token-harvester-state", "eu-central-1", False)


class S3:
    """Answers what it was told to, or raises it."""

    def __init__(
        self, versions: dict[str, Any] | str, objects: dict[str, Any] | None = None
    ) -> None:
        self._versions = versions
        self._objects = objects

    def list_object_versions(self, **_: object) -> dict[str, Any]:
        if isinstance(self._versions, str):
            raise ClientError({"Error": {"Code": self._versions}}, "ListObjectVersions")
        return self._versions

    def list_objects_v2(self, **_: object) -> dict[str, Any]:
        assert self._objects is not None, "not asked for"
        return self._objects


class Destroy(unittest.TestCase):
    def test_an_empty_bucket_may_go(self) -> None:
        destroy.refuse_if_full(BUCKET, S3({}))
        destroy.refuse_if_full(BUCKET, S3("NoSuchBucket"))

    def test_anything_in_a_bucket_stops_it(self) -> None:
        for found in (
            {"Versions": [{"Key": "grants/x.json"}]},
            {"DeleteMarkers": [{"Key": "leases/x"}]},
        ):
            with self.subTest(found), self.assertRaisesRegex(Failure, "not empty; nothing was"):
                destroy.refuse_if_full(BUCKET, S3(found))

    def test_what_may_not_be_seen_stops_it(self) -> None:
        with self.assertRaisesRegex(Failure, "not empty; nothing was begun"):
            destroy.refuse_if_full(BUCKET, S3("AccessDenied", {"Contents": [{"Key": "x"}]}))
        with self.assertRaisesRegex(Failure, "may have old versions"):
            destroy.refuse_if_full(BUCKET, S3("AccessDenied", {}))
        with self.assertRaisesRegex(ClientError, "SlowDown"):
            destroy.refuse_if_full(BUCKET, S3("SlowDown"))

    def test_buckets_are_those_of_the_state(self) -> None:
        def resource(mode: str, kind: str, **values: object) -> dict[str, Any]:
            values = {"bucket": "b", "region": "eu-central-1", "force_destroy": False} | values
            return {"mode": mode, "type": kind, "values": values}

        known = {
            "values": {
                "root_module": {
                    "resources": [
                        resource("managed", "aws_s3_bucket", bucket="kept"),
                        resource("managed", "aws_s3_bucket", bucket="emptied", force_destroy=True),
                        resource("data", "aws_s3_bucket", bucket="access-logs"),
                        resource("managed", "aws_s3_bucket_policy", bucket="kept"),
                    ]
                }
            }
        }
        self.assertEqual(
            list(destroy.buckets(known)),
            [
                destroy.Bucket("kept", "eu-central-1", False),
                destroy.Bucket("emptied", "eu-central-1", True),
            ],
        )
        self.assertEqual(list(destroy.buckets({"format_version": "1.0"})), [])

    def test_the_guard_comes_before_every_resource(self) -> None:
        text = "".join(path.read_text(encoding="utf-8") for path in INFRA.glob("*.tf"))
        resources = {
            f"{kind}.{name}"
            for kind, name in re.findall(r'^resource "(\w+)" "(\w+)"', text, re.MULTILINE)
        }
        guard = text.partition('resource "terraform_data" "guard"')[2].partition("\n}\n")[0]
        needed = re.search(r"depends_on = \[(.*?)\]", guard, re.DOTALL)
        assert needed
        self.assertEqual(
            set(re.findall(r"[\w.]+", needed[1])), resources - {"terraform_data.guard"}
        )

    def test_a_bucket_goes_before_its_key(self) -> None:
        text = (INFRA / "storage.tf").read_text(encoding="utf-8")
        bucket = text.partition('resource "aws_s3_bucket" "this"')[2].partition("\n}\n")[0]
        self.assertIn("depends_on = [aws_kms_key.this]", bucket)


if __name__ == "__main__":
    unittest.main()
