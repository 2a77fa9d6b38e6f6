"""Terraform: what it knows of the deployment; and on a copy of `infra/`, to try things.

The copy keeps its state beside itself, whatever backend the deployment has, so that a try leaves
nothing in the project's folder.
"""

import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import processes
from console import Failure
from workspace import LOCAL, ROOT, shown

INFRA = ROOT / "infra"
DEPLOYMENT = "DEPLOYMENT"
"""Variable with the folder whose Terraform state to ask; `infra/` without it."""
MIRROR = "TF_PLUGIN_MIRROR"
STEERING = ("TF_VAR_", "TF_CLI_ARGS", "TF_DATA_DIR", "TF_WORKSPACE")
"""Environment variables that would make it somebody's deployment; how to find providers is kept."""
UNREACHABLE = "Failed to query available provider packages", "Failed to install provider"
"""What Terraform says where the provider can't be downloaded, as against a mistake in the files."""


class ProviderMissing(Failure):
    """The AWS provider can't be had here."""


def deployment() -> Path:
    """The folder of the deployment that a command is about."""
    return Path(os.environ.get(DEPLOYMENT) or INFRA)


def known(subject: str) -> Any:
    """What Terraform says of the deployment's `output`, or of all of it (`show`)."""
    command = ["terraform", f"-chdir={deployment()}", subject, "-json"]
    try:
        answer = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        raise Failure("terraform is missing: install it, and open a new shell") from None
    if answer.returncode != 0:
        raise Failure(f"Terraform's state in {shown(deployment())}: {answer.stderr.strip()}")
    return json.loads(answer.stdout)


class Terraform:
    """A working copy with its own state."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.folder, self.log, settings = folder / "infra", folder / "log", folder / "terraform.rc"
        self.env = {name: value for name, value in env.items() if not name.startswith(STEERING)}
        self.outputs: dict[str, Any] = {}  # what the last apply made
        self.env |= {"CHECKPOINT_DISABLE": "1", "TF_CLI_ARGS": "-no-color"}
        shutil.rmtree(folder, ignore_errors=True)
        left_out = shutil.ignore_patterns(".terraform", "*.tfstate*", "*.tfvars", "__pycache__")
        shutil.copytree(INFRA, self.folder, ignore=left_out)
        (self.folder / "copy_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
        with zipfile.ZipFile(self.folder / "tests" / "function.zip", "w") as stand_in:
            stand_in.writestr("bootstrap", "")  # in place of the built function
        if os.environ.get(MIRROR):
            mirror = Path(os.environ[MIRROR]).absolute()
            if not mirror.is_dir():
                raise Failure(f"{MIRROR}: there is no folder {shown(mirror)}")
            # The provider is the one that the deployment is held to, but a mirror's is its own.
            (self.folder / ".terraform.lock.hcl").unlink(missing_ok=True)
            where = f'filesystem_mirror {{\n path = "{mirror}"\n }}'
            settings.write_text(f"provider_installation {{\n {where}\n}}\n")
            self.env["TF_CLI_CONFIG_FILE"] = str(settings)
        else:
            cache = LOCAL / "terraform-plugins"
            cache.mkdir(parents=True, exist_ok=True)
            self.env["TF_PLUGIN_CACHE_DIR"] = str(cache)

    def init(self) -> str:
        """Installs the provider; returns what the copy is run with: `Terraform 1.11.4, …`."""
        try:
            self.run("init", "-input=false")
        except Failure as problem:
            if os.environ.get(MIRROR) or not any(reason in str(problem) for reason in UNREACHABLE):
                raise
            hint = f"{MIRROR} names a filesystem mirror that has it"
            raise ProviderMissing("the AWS provider can't be downloaded", hint) from None
        found = json.loads(self.run("version", "-json"))
        used = {"Terraform": found["terraform_version"], **found["provider_selections"]}
        return ", ".join(f"{name.partition('/')[2] or name} {used[name]}" for name in used)

    def run(self, *words: str) -> str:
        """Runs a subcommand that has to succeed; returns what it printed."""
        succeeded, said = self.attempt(*words)
        if not succeeded:
            end = "\n".join(said.splitlines()[-40:])
            where = f"its output is in {shown(self.log)}"
            raise Failure(f"terraform {words[0]} failed:\n{end}", where)
        return said

    def attempt(self, *words: str) -> tuple[bool, str]:
        """Runs a subcommand; returns whether it succeeded, and what it printed."""
        command, how = ["terraform", *words], {"env": self.env, "cwd": self.folder}
        return processes.succeeds(command, self.log, **how), self.log.read_text(errors="replace")
