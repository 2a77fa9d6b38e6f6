"""The architecture as code: `make diagrams` draws architecture-{light,dark}.{png,svg} beside this file."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent

SHOWN = {
    "aws_cloudwatch_dashboard": "dashboard",
    "aws_cloudwatch_log_group": "logs",
    "aws_cloudwatch_metric_alarm": "alarms",
    "aws_iam_role": "function",
    "aws_iam_role_policy": "function",
    "aws_kms_alias": "token-key",
    "aws_kms_key": "token-key",
    "aws_lambda_function": "function",
    "aws_lambda_function_event_invoke_config": "dead-letters",
    "aws_s3_bucket": "tokens",
    "aws_s3_bucket_lifecycle_configuration": "tokens",
    "aws_s3_bucket_logging": "tokens",
    "aws_s3_bucket_ownership_controls": "tokens",
    "aws_s3_bucket_policy": "tokens",
    "aws_s3_bucket_public_access_block": "tokens",
    "aws_s3_bucket_server_side_encryption_configuration": "tokens",
    "aws_s3_bucket_versioning": "tokens",
    "aws_scheduler_schedule": "schedule",
    "aws_scheduler_schedule_group": "schedule",
    "aws_sns_topic": "messages",
    "aws_sns_topic_policy": "messages",
    "aws_sns_topic_subscription": "people",
    "aws_sqs_queue": "dead-letters",
    "aws_sqs_queue_policy": "job-queue",
    "terraform_data": "tokens",
}
"""Where each type of resource in `infra/` is seen; a test compares the two."""

FONT = "DejaVu Sans"


class Theme(NamedTuple):
    """Colours of the page."""

    page: str
    group: str
    border: str
    text: str
    line: str


THEMES = {
    "light": Theme("#ffffff", "#f6f8fa", "#d0d7de", "#1f2328", "#57606a"),
    "dark": Theme("#0d1117", "#161b22", "#30363d", "#e6edf3", "#9198a1"),
}


def draw(name: str, theme: Theme) -> None:
    """Draws both files of one theme."""
    from diagrams import Cluster, Diagram, Edge, Node
    from diagrams.aws.compute import Lambda
    from diagrams.aws.integration import SNS, SQS, EventbridgeScheduler
    from diagrams.aws.management import Cloudwatch, CloudwatchAlarm, CloudwatchLogs
    from diagrams.aws.security import KMS, SecretsManager
    from diagrams.aws.storage import SimpleStorageServiceS3Bucket as Bucket

    text = {"fontname": FONT, "fontcolor": theme.text}
    target = FOLDER / f"architecture-{name}"

    def group(label: str) -> Cluster:
        look = {"bgcolor": theme.group, "pencolor": theme.border, "fontsize": "14", "margin": "18"}
        return Cluster(label, graph_attr={**text, **look})

    def edge(label: str = "", **attributes: str) -> Edge:
        return Edge(label=f" {label} " if label else "", **text, color=theme.line, **attributes)

    def outsider(label: str, nodeid: str) -> Node:
        """Somebody outside the account; the icons for those can't be seen on a dark page."""
        look = {"shape": "box", "height": "0.8", "width": "1.7", "labelloc": "c"}
        return Node(label, nodeid=nodeid, color=theme.line, **text, **look)

    with Diagram(
        "",
        filename=str(target),
        outformat=["png", "svg"],
        show=False,
        graph_attr={
            "bgcolor": theme.page,
            "pad": "0.4",
            "splines": "spline",
            "nodesep": "0.5",
            "ranksep": "0.9",
        },
        node_attr={**text, "fontsize": "13"},
        edge_attr={**text, "color": theme.line, "fontsize": "12"},
    ):
        servers = outsider("authorization\nservers", "servers")
        with group("AWS account"):
            schedule = EventbridgeScheduler("schedules", nodeid="schedule")
            secrets = SecretsManager("secrets:\ndefinitions", nodeid="secrets")
            function = Lambda("token-harvester", nodeid="function")
            with group("private: function and break-glass role only"):
                state = Bucket("state bucket:\ngrants, incidents", nodeid="state")
                state_key = KMS("its key", nodeid="state-key")
            with group("tokens, encrypted and versioned"):
                tokens = Bucket("token bucket", nodeid="tokens")
                token_key = KMS("its key", nodeid="token-key")
            with group("no secret in it, encrypted all the same"):
                messages = SNS("topic:\ntokens, alerts", nodeid="messages")
                alarm_topic = SNS("topic:\nalarms", nodeid="alarm-topic")
                messages_key = KMS("their key", nodeid="messages-key")
            job_queue = SQS("job queue\n(optional)", nodeid="job-queue")
            with group("watches without the harvester"):
                logs = CloudwatchLogs("log and metrics", nodeid="logs")
                alarms = CloudwatchAlarm("alarms", nodeid="alarms")
                dashboard = Cloudwatch("dashboard", nodeid="dashboard")
                dead_letters = SQS("dead letters", nodeid="dead-letters")
        jobs = outsider("data jobs", "jobs")
        people = outsider("people on call", "people")

        schedule >> edge("every 15 min") >> function
        schedule >> edge("not taken", style="dashed") >> dead_letters
        secrets >> edge("20 a call") >> function
        servers << edge("token requests") >> function
        function << edge("refresh tokens,\nleases, incidents") >> state
        function >> edge("one version\na refresh") >> tokens
        function >> edge("what changed") >> messages
        function >> edge() >> logs
        function >> edge("failed runs", style="dashed") >> dead_letters
        state - edge(style="dotted") - state_key
        tokens - edge(style="dotted") - token_key
        messages - edge(style="dotted") - messages_key
        alarm_topic - edge(style="dotted") - messages_key
        messages >> edge("tokens") >> job_queue >> edge() >> jobs
        messages >> edge("alerts, by e-mail") >> people
        tokens >> edge("tokens") >> jobs
        logs >> edge() >> dashboard
        logs >> edge() >> alarms
        dead_letters >> edge() >> alarms
        alarms >> edge() >> alarm_topic >> edge("by e-mail") >> people

    embed_icons(target.with_suffix(".svg"))


def embed_icons(svg: Path) -> None:
    """Puts the icons into the file, which else names them where they are on this machine."""

    def data(match: re.Match[str]) -> str:
        content = base64.b64encode(Path(match[1]).read_bytes()).decode()
        return f'xlink:href="data:image/png;base64,{content}"'

    text = svg.read_text(encoding="utf-8")
    svg.write_text(re.sub(r'xlink:href="([^"]+\.png)"', data, text), encoding="utf-8")


if __name__ == "__main__":
    for theme_name, its_theme in THEMES.items():
        draw(theme_name, its_theme)
