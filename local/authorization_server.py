"""The authorization server of the example sources: NanoIDP, a real one made for development."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from console import detail, step
from processes import Processes, wait_until_up
from workspace import LOCAL, LOOPBACK, Settings, shown, write_private

NAME = "authorization server"
HOME = LOCAL / "authorization-server"
LOG = LOCAL / "authorization-server.log"
UP_SECONDS = 60.0
TOKEN_MINUTES = 60


class Client(NamedTuple):
    """An OAuth client that the server knows, and how a source's definition says so."""

    auth_method: str
    scope: str
    discovers_endpoint: bool
    """Whether the definition has the `issuer` instead of the `token_endpoint`."""
    owner: str


CLIENTS = {
    "acme-crm": Client("client_secret_basic", "contacts.read", False, "crm-data@example.com"),
    "globex-billing": Client(
        "client_secret_post", "invoices.read", True, "finance-data@example.com"
    ),
}


def start(processes: Processes, settings: Settings, env: Mapping[str, str]) -> dict[str, str]:
    """Starts the server; returns the example sources' definitions by source name."""
    step("Starting an authorization server")
    port = settings.port(NAME)
    issuer = f"http://{LOOPBACK}:{port}"
    secrets = {client_id: settings.client_secret(client_id) for client_id in CLIENTS}
    settings.save()
    write_private(HOME / "settings.yaml", json.dumps(_server_settings(issuer, port, secrets)))
    write_private(HOME / "users.yaml", json.dumps({"config_version": 1, "users": {}}))
    command = [sys.executable, "-m", "nanoidp", "--config", HOME, "--strict-config"]
    child = processes.start(f"the {NAME}", command, env=env, cwd=HOME, log=LOG)
    wait_until_up(child, port, "/health", timeout=UP_SECONDS)
    detail(f"{issuer}, log in {shown(LOG)}")
    return {
        name: json.dumps(_definition(name, client, issuer, secrets[name]))
        for name, client in CLIENTS.items()
    }


def _server_settings(issuer: str, port: int, secrets: Mapping[str, str]) -> dict[str, Any]:
    """The server's configuration; its YAML takes JSON."""
    return {
        "config_version": 1,
        "server": {"host": LOOPBACK, "port": port},
        "cors_allowed_origins": [],
        "jwt": {"keys_dir": str(HOME / "keys")},
        "oauth": {
            "issuer": issuer,
            "audience": "https://api.example.com",
            "token_expiry_minutes": TOKEN_MINUTES,
            "scopes_supported": [client.scope for client in CLIENTS.values()],
            "clients": [
                {
                    "client_id": client_id,
                    "client_secret": secrets[client_id],
                    "token_endpoint_auth_method": client.auth_method,
                    "allowed_scopes": [client.scope],
                }
                for client_id, client in CLIENTS.items()
            ],
        },
    }


def _definition(client_id: str, client: Client, issuer: str, secret: str) -> dict[str, str]:
    """What Secrets Manager holds about a source."""
    where = (
        {"issuer": issuer} if client.discovers_endpoint else {"token_endpoint": f"{issuer}/token"}
    )
    return where | {
        "client_id": client_id,
        "client_secret": secret,
        "token_endpoint_auth_method": client.auth_method,
        "grant_type": "client_credentials",
        "scope": client.scope,
        "owner": client.owner,
    }
