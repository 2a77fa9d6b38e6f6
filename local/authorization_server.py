"""The authorization server of the example sources: NanoIDP, a real one made for development."""

import json
import sys

import processes
from console import detail, step
from workspace import LOCAL, shown, write_private

HOME = LOCAL / "authorization-server"
LOG = LOCAL / "authorization-server.log"
CLIENT_SECRET = "good-for-nothing-else"


def start() -> dict[str, str]:
    """Starts the server; returns the example sources' definitions by source name."""
    step("Starting an authorization server")
    port = processes.free_port(18102)
    issuer = f"http://127.0.0.1:{port}"
    definitions = {
        "acme-crm": {
            "token_endpoint": f"{issuer}/token",
            "client_id": "acme-crm",
            "client_secret": CLIENT_SECRET,
            "token_endpoint_auth_method": "client_secret_basic",
            "grant_type": "client_credentials",
            "scope": "contacts.read",
            "owner": "crm-data@example.com",
        },
        "globex-billing": {
            "issuer": issuer,  # where the token endpoint is, is asked
            "client_id": "globex-billing",
            "client_secret": CLIENT_SECRET,
            "token_endpoint_auth_method": "client_secret_post",
            "grant_type": "client_credentials",
            "scope": "invoices.read",
            "owner": "finance-data@example.com",
        },
    }
    same = ("client_id", "client_secret", "token_endpoint_auth_method")
    settings = {
        "config_version": 1,
        "server": {"host": "127.0.0.1", "port": port},
        "cors_allowed_origins": [],
        "jwt": {"keys_dir": str(HOME / "keys")},
        "oauth": {
            "issuer": issuer,
            "audience": "https://api.example.com",
            "token_expiry_minutes": 60,
            "scopes_supported": [known["scope"] for known in definitions.values()],
            "clients": [
                {field: known[field] for field in same} | {"allowed_scopes": [known["scope"]]}
                for known in definitions.values()
            ],
        },
    }
    write_private(HOME / "settings.yaml", json.dumps(settings))  # JSON is YAML, too
    write_private(HOME / "users.yaml", json.dumps({"config_version": 1, "users": {}}))
    command = [sys.executable, "-m", "nanoidp", "--config", HOME, "--strict-config"]
    processes.start_server("the authorization server", command, port, LOG, cwd=HOME)
    detail(f"{issuer}, log in {shown(LOG)}")
    return {name: json.dumps(known) for name, known in definitions.items()}
