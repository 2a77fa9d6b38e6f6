"""Wrong values are refused before anything is asked of AWS, with an example of a right one.

Terraform itself decides, on the variables alone: that needs no provider, and a plan of nothing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

VARIABLES = Path(__file__).parent.parent / "variables.tf"
KEY = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd"
EMAILS = {"alert_emails": ["on-call@example.com"]}


def schedule(**fields: Any) -> dict[str, Any]:
    return {"schedule": fields}


def additional(name: str = "early", **fields: Any) -> dict[str, Any]:
    right = {"expression": "rate(1 hour)", "sources": ["acme-crm"]}
    return {"additional_schedules": {name: right | fields}}


RIGHT: tuple[dict[str, Any], ...] = (
    {},
    {"alert_emails": ["o'brien+x@a.example.co.uk", "b@example.com"]},
    schedule(expression="rate(1 minute)"),
    schedule(expression="rate(24 hours)"),
    schedule(expression="cron(*/5 * * * ? *)", interval="5m"),
    schedule(expression="cron(0 6-22 ? * MON-FRI,SUN 2026-2030)", interval="1d", time_zone="UTC"),
    schedule(expression="cron(0 9 L * ? *)", interval="24h", time_zone="America/Argentina/Ushuaia"),
    additional(expression="cron(30 5 ? * 2#1 *)", time_zone="Europe/Berlin", force=True),
    {"kms_key_arns": {"tokens": KEY, "state": KEY + "2"}},
    {"break_glass_role_arn": "arn:aws-cn:iam::123456789012:role/team/break-glass"},
    {"region": "us-gov-west-1"},
    {"function": {"memory": 256, "reserved_concurrency": -1}},
    {"tags": {"cost centre": "data"}},
)

WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"alert_emails": []}, "on-call@example.com"),
    ({"alert_emails": ["on-call"]}, "on-call@example.com"),
    ({"alert_emails": ["On Call <a@example.com>"]}, "on-call@example.com"),
    ({"alert_emails": ["a@example"]}, "on-call@example.com"),
    ({"region": "Frankfurt"}, "eu-central-1"),
    ({"name": "Token_Harvester"}, "token-harvester"),
    ({"name": "a" * 25}, "token-harvester"),
    ({"environment": "prod env"}, "prod"),
    ({"secret_prefix": "token-harvester"}, "token-harvester/"),
    ({"secret_prefix": "/"}, "token-harvester/"),
    ({"secret_prefix": "a*/"}, "token-harvester/"),
    (schedule(expression="15 minutes"), "rate(15 minutes)"),
    (schedule(expression="rate(15 min)"), "rate(15 minutes)"),
    (schedule(expression="rate(0 minutes)"), "rate(15 minutes)"),
    (schedule(expression="rate(2 days)"), "rate(15 minutes)"),
    (schedule(expression="rate(1441 minutes)"), "rate(15 minutes)"),
    (schedule(expression="cron(0 6 * * *)", interval="1d"), "cron(0/15 6-22 ? * * *)"),
    (schedule(expression="cron(0 25 ? * * *)", interval="1d"), "cron(0/15 6-22 ? * * *)"),
    (schedule(expression="cron(0 6 ? * ? *)", interval="1d"), "cron(0/15 6-22 ? * * *)"),
    (schedule(expression="cron(0 6 1 * 1 *)", interval="1d"), "cron(0/15 6-22 ? * * *)"),
    (schedule(expression="cron(0 6 ? 13 * *)", interval="1d"), "cron(0/15 6-22 ? * * *)"),
    (schedule(expression="cron(0 6 ? * * *)"), '"12h"'),
    (schedule(interval="15m"), '"12h"'),
    (schedule(expression="cron(0 6 ? * * *)", interval="90s"), '"12h"'),
    (schedule(expression="cron(0 6 ? * * *)", interval="2d"), '"12h"'),
    (schedule(expression="cron(0 6 ? * * *)", interval="25h"), '"12h"'),
    (schedule(time_zone="Berlin time"), "Europe/Berlin"),
    (additional(name="Before Work"), "before-work"),
    (additional(expression="hourly"), "rate(1 hour)"),
    (additional(expression="cron(0 6 1 * 1 *)"), "cron(30 5 ? * MON-FRI *)"),
    (additional(time_zone=""), "Europe/Berlin"),
    (additional(sources=[]), "acme-crm"),
    (additional(sources=["Acme CRM"]), "acme-crm"),
    ({"reader_sources": ["*"]}, "acme-crm"),
    ({"kms_key_arns": {"state": "alias/mine"}}, "arn:aws:kms:"),
    ({"kms_key_arns": {"tokens": KEY, "state": KEY}}, "arn:"),
    ({"old_versions": {"days": 0}}, "30"),
    ({"old_versions": {"keep": 4}}, "5"),
    ({"access_log_bucket": "s3://logs"}, "example-access-logs"),
    ({"break_glass_role_arn": "arn:aws:iam::123456789012:user/me"}, "role/break-glass"),
    ({"break_glass_role_arn": "arn:aws:iam::123456789012:role/*"}, "role/break-glass"),
    ({"architecture": "arm"}, "arm64"),
    ({"function_zip": "bootstrap"}, "bootstrap.zip"),
    ({"function": {"memory": 64}}, "128"),
    ({"function": {"timeout": 1000}}, "300"),
    ({"function": {"max_concurrency": 0}}, "32"),
    ({"function": {"reserved_concurrency": 0}}, "1"),
    ({"function": {"log_level": "WARN"}}, "INFO"),
    ({"function": {"log_retention_days": 31}}, "30"),
    ({"minimum_seconds_until_expiry": -1}, "600"),
    ({"tags": {"aws:x": "y"}}, "team"),
)


@unittest.skipUnless(shutil.which("terraform"), "terraform is not installed")
class Variables(unittest.TestCase):
    folder: Path

    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        shutil.copy(VARIABLES, cls.folder)

    def plan(self, values: dict[str, Any]) -> tuple[bool, str]:
        """Whether Terraform takes these values, and what it says of them on one line."""
        with tempfile.NamedTemporaryFile("w", suffix=".tfvars.json", dir=self.folder) as file:
            json.dump(EMAILS | values, file)
            file.flush()
            command = ["terraform", "plan", "-input=false", "-no-color", "-lock=false"]
            done = subprocess.run(
                [*command, f"-var-file={file.name}"],
                cwd=self.folder,
                check=False,
                capture_output=True,
                text=True,
            )
        return done.returncode == 0, " ".join((done.stdout + done.stderr).split())

    def test_right_values_are_taken(self) -> None:
        with ThreadPoolExecutor(4) as pool:
            for values, (taken, said) in zip(RIGHT, pool.map(self.plan, RIGHT), strict=True):
                with self.subTest(values=values):
                    self.assertTrue(taken, said)

    def test_wrong_values_are_refused_with_an_example(self) -> None:
        with ThreadPoolExecutor(4) as pool:
            plans = pool.map(self.plan, (values for values, _ in WRONG))
            for (values, example), (taken, said) in zip(WRONG, plans, strict=True):
                with self.subTest(values=values):
                    self.assertFalse(taken)
                    (variable,) = values
                    self.assertIn("Invalid value for variable", said)
                    self.assertIn(f"var.{variable}", said)
                    self.assertIn(example, said)

    def test_variables_are_few_and_all_described(self) -> None:
        text = VARIABLES.read_text(encoding="utf-8")
        count = text.count('\nvariable "')
        self.assertLessEqual(count, 20)
        self.assertEqual((text.count("\n  type "), text.count("\n  description ")), (count, count))


if __name__ == "__main__":
    unittest.main()
