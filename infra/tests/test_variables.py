"""Wrong values are refused before anything is asked of AWS, with an example of a right one.

Terraform itself decides, on the variables alone: that needs no provider, and a plan of nothing.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

INFRA = Path(__file__).parent.parent
VARIABLES = INFRA / "variables.tf"
ALONE = ("variables.tf", "interval.tf")
"""Files that need no provider."""
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
    {"alert_urls": ["https://events.example.com:8443/integration/key/enqueue?x=1"]},
    {"runbook_url": "https://wiki.example.com/pages/7"},
    {"name": "sthree"},
    schedule(expression="rate(1 minute)") | {"function": {"timeout": 60}},
    schedule(expression="rate(5 minutes)") | {"function": {"timeout": 300}},
    schedule(expression="rate(24 hours)"),
    schedule(expression="rate(1440 minutes)"),
    schedule(expression="cron(*/5 * * * ? *)", interval="5m"),
    schedule(expression="cron(0/15 6-22 ? * * *)", interval="435m"),
    schedule(expression="cron(0,30 22-3,12 * * ? 2026-2030)", interval="570m"),
    schedule(expression="cron(7 3 1/1 JAN-DEC ? *)", interval="1d", time_zone="UTC"),
    additional(expression="cron(0 6-22 ? * MON-FRI,SUN 2026-2030)", time_zone="UTC"),
    additional(expression="cron(0 9 L * ? *)", time_zone="America/Argentina/Ushuaia"),
    additional(expression="cron(0 9 L-3,15W,LW FEB,6-9 ? *)"),
    additional(expression="cron(0 9 ? */3 FRIL 2199)"),
    additional(expression="cron(30 5 ? * 2#1 *)", time_zone="Europe/Berlin", force=True),
    additional(expression="rate(1 day)"),
    {"reader_role_arns": ["arn:aws:iam::999999999999:role/team/etl"]},
    {"operator_role_arns": ["arn:aws-us-gov:iam::123456789012:role/on-call"]},
    {"kms_key_arns": {"logs": KEY, "tokens": KEY, "new_keys_too": False}},
    {"former_key_arns": {"tokens": [KEY], "state": [KEY + "2", KEY + "3"]}},
    {"permissions_boundary_arn": "arn:aws:iam::123456789012:policy/team/boundary"},
    {"function": {"subnet_ids": ["subnet-0a1b2c3d"], "security_group_ids": ["sg-0a1b2c3d"]}},
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
    ({"alert_urls": ["http://events.example.com"]}, "https://events.example.com/sns"),
    ({"alert_urls": ["https://user@events.example.com"]}, "https://events.example.com/sns"),
    ({"runbook_url": "docs/runbook.md"}, "https://wiki.example.com/token-harvester"),
    ({"runbook_url": "https://example.com/#here"}, "https://wiki.example.com/token-harvester"),
    ({"runbook_url": "https://example.com/" + "u" * 400}, "at most 400"),
    ({"name": "xn--harvester"}, "token-harvester"),
    ({"name": "sthree-harvester"}, "token-harvester"),
    ({"name": "amzn-s3-demo-harvester"}, "token-harvester"),
    (schedule(expression="rate(0 minutes)"), "rate(15 minutes)"),
    (schedule(expression="rate(5 minute)"), "rate(15 minutes)"),
    (schedule(expression="rate(1 hours)"), "rate(15 minutes)"),
    (schedule(expression="cron(0 6 ? FOO * *)", interval="1d"), "cron(0/15 6-22 ? * * *)"),
    (schedule(expression="cron(0/0 6 ? * * *)", interval="1d"), "cron(0/15 6-22 ? * * *)"),
    (schedule(expression="cron(60 6 ? * * *)", interval="1d"), "cron(0/15 6-22 ? * * *)"),
    (schedule(expression="cron(0 6 32 * ? *)", interval="1d"), "cron(0/15 6-22 ? * * *)"),
    (schedule(expression="cron(0 6 ? * * 1969)", interval="1d"), "cron(0/15 6-22 ? * * *)"),
    (schedule(expression="cron(0 6,, ? * * *)", interval="1d"), "cron(0/15 6-22 ? * * *)"),
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
    (additional(expression="cron(0 6 ? * MOO *)"), "cron(30 5 ? * MON-FRI *)"),
    (additional(expression="cron(0 6 ? * 2#6 *)"), "cron(30 5 ? * MON-FRI *)"),
    (additional(expression="rate(1 minutes)"), "rate(1 hour)"),
    (additional(time_zone=""), "Europe/Berlin"),
    (additional(sources=[]), "acme-crm"),
    (additional(sources=["Acme CRM"]), "acme-crm"),
    ({"reader_sources": ["*"]}, "acme-crm"),
    ({"kms_key_arns": {"state": "alias/mine"}}, "arn:aws:kms:"),
    ({"kms_key_arns": {"tokens": KEY, "state": KEY}}, "arn:"),
    ({"kms_key_arns": {"logs": "alias/mine"}}, "arn:aws:kms:"),
    ({"former_key_arns": {"state": ["alias/mine"]}}, "arn:aws:kms:"),
    ({"reader_role_arns": ["arn:aws:iam::123456789012:root"]}, "role/etl"),
    ({"operator_role_arns": ["arn:aws:iam::123456789012:role/*"]}, "role/on-call"),
    ({"permissions_boundary_arn": "boundary"}, "policy/boundary"),
    ({"function": {"subnet_ids": ["subnet-0a1b2c3d"]}}, "sg-0a1b2c3d"),
    ({"function": {"security_group_ids": ["sg-0a1b2c3d"]}}, "subnet-0a1b2c3d"),
    (
        {"function": {"subnet_ids": ["vpc-0a1b2c3d"], "security_group_ids": ["sg-0a1b2c3d"]}},
        "subnet-0a1b2c3d",
    ),
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
    ({"tags": {"aws:x": "y"}}, "team"),
    ({"tags": {"Application": "x"}}, "team"),
    ({"tags": {"DEPLOYMENT": "x"}}, "team"),
    ({"tags": {"Team": "a", "team": "b"}}, "team"),
)

CONTRADICTORY: tuple[tuple[dict[str, Any], str], ...] = (
    # A run may not have ended when the next one comes.
    (schedule(expression="rate(1 minute)"), "timeout = 60"),
    (schedule(expression="rate(5 minutes)") | {"function": {"timeout": 301}}, "rate(15 minutes)"),
    (schedule(expression="cron(*/4 * * * ? *)", interval="4m"), "timeout = 240"),
    # Longer waits than the interval says.
    (schedule(expression="cron(0 6 ? * * *)", interval="5m"), '"1440m"'),
    (schedule(expression="cron(0/15 6-22 ? * * *)", interval="7h"), '"435m"'),
    (schedule(expression="cron(0,30 22-3,12 * * ? *)", interval="569m"), '"570m"'),
    # Days without a run.
    (schedule(expression="cron(0 * ? * MON-FRI *)", interval="1d"), "every day"),
    (schedule(expression="cron(0 9 L * ? *)", interval="24h"), "every day"),
    (schedule(expression="cron(0 * 1-30 * ? *)", interval="1d"), "every day"),
    (schedule(expression="cron(0 * * 1-6 ? *)", interval="1d"), "every day"),
)
"""Values that are right each by itself; what the plan says."""


@unittest.skipUnless(shutil.which("terraform"), "terraform is not installed")
class Variables(unittest.TestCase):
    folder: Path

    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        for name in ALONE:
            shutil.copy(INFRA / name, cls.folder)

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

    def test_contradictory_values_are_refused_with_the_arithmetic(self) -> None:
        with ThreadPoolExecutor(4) as pool:
            plans = pool.map(self.plan, (values for values, _ in CONTRADICTORY))
            for (values, advice), (taken, said) in zip(CONTRADICTORY, plans, strict=True):
                with self.subTest(values=values):
                    self.assertFalse(taken)
                    self.assertIn("Module output value precondition failed", said)
                    self.assertIn(advice, said)

    def test_the_example_is_right(self) -> None:
        text = (INFRA / "terraform.tfvars.example").read_text(encoding="utf-8")
        path = self.folder / "example.tfvars"
        path.write_text(re.sub(r"^# (?=[a-z_]+ += |  |\})", "", text, flags=re.MULTILINE))
        done = subprocess.run(
            ["terraform", "plan", "-input=false", "-lock=false", f"-var-file={path.name}"],
            cwd=self.folder,
            check=False,
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('interval = "9h"', done.stdout)
        self.assertNotRegex(path.read_text(), r"(?m)^# ?[a-z_]+ +=|^# ?\}")

    def test_the_readme_names_every_variable(self) -> None:
        names = re.findall(
            r'^variable "(\w+)"', VARIABLES.read_text(encoding="utf-8"), re.MULTILINE
        )
        readme = (INFRA / "README.md").read_text(encoding="utf-8")
        table = readme.partition("## Variables")[2].partition("\n## ")[0]
        rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
        self.assertEqual(sorted(re.findall(r"`(\w+)`", " ".join(rows))), sorted(names))

    def test_variables_are_few_and_all_described(self) -> None:
        text = VARIABLES.read_text(encoding="utf-8")
        count = text.count('\nvariable "')
        self.assertLessEqual(count, 24)
        self.assertEqual((text.count("\n  type "), text.count("\n  description ")), (count, count))


if __name__ == "__main__":
    unittest.main()
