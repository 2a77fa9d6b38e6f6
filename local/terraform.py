"""Terraform on a copy of `infra/`, so that a try leaves nothing in the project's folder.

The copy keeps its state beside itself, whatever backend the deployment has.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

from console import Failure
from processes import Child, Processes, last_lines
from workspace import LOCAL, ROOT, shown

INFRA = ROOT / "infra"
PLUGIN_CACHE = LOCAL / "terraform-plugins"
MIRROR = "TF_PLUGIN_MIRROR"
LOCK_FILE = ".terraform.lock.hcl"
FUNCTION_ZIP = Path("tests", "function.zip")
"""Stands in for the built function where no code is run."""

STEERING_PREFIXES = ("TF_VAR_", "TF_CLI_ARGS", "TF_DATA_DIR", "TF_WORKSPACE")
"""Environment variables that would make it somebody's deployment; how to find providers is kept."""

UNREACHABLE = (
    "Failed to query available provider packages",
    "Failed to install provider",
    "Failed to resolve provider packages",
)
"""What Terraform says where the provider can't be downloaded, as against a mistake in the files."""


class ProviderMissing(Exception):
    """The AWS provider can't be had here."""


class Terraform:
    """A working copy with its own state."""

    def __init__(self, processes: Processes, folder: Path, env: Mapping[str, str]) -> None:
        self.folder = folder / "infra"
        self.log = folder / "terraform.log"
        self._processes = processes
        self.env = {
            name: value for name, value in env.items() if not name.startswith(STEERING_PREFIXES)
        } | {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
        mirror = os.environ.get(MIRROR)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(
            INFRA,
            self.folder,
            ignore=shutil.ignore_patterns(
                ".terraform", "*.tfstate*", "*.tfvars", "__pycache__",
                # The provider is the one that the deployment is held to, but a mirror's is its own.
                *([LOCK_FILE] if mirror else ()),
            ),
        )  # fmt: skip
        (self.folder / "copy_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
        with zipfile.ZipFile(self.folder / FUNCTION_ZIP, "w") as stand_in:
            stand_in.writestr("bootstrap", "")
        if mirror:
            path = Path(mirror).absolute()
            if not path.is_dir():
                raise Failure(f"{MIRROR}: there is no folder {shown(path)}")
            settings = folder / "terraform.rc"
            settings.write_text(
                f'provider_installation {{\n  filesystem_mirror {{\n    path = "{path}"\n  }}\n}}\n'
            )
            self.env["TF_CLI_CONFIG_FILE"] = str(settings)
        else:
            PLUGIN_CACHE.mkdir(parents=True, exist_ok=True)
            self.env["TF_PLUGIN_CACHE_DIR"] = str(PLUGIN_CACHE)

    def init(self) -> None:
        """Installs the provider."""
        child = self._start("init", "-input=false")
        if self._processes.wait(child, timeout=600) != 0:
            said = self.log.read_text(encoding="utf-8", errors="replace")
            if any(reason in said for reason in UNREACHABLE) and not os.environ.get(MIRROR):
                raise ProviderMissing
            raise self.failure("init")

    def run(self, *words: str) -> str:
        """Runs a subcommand that has to succeed; returns what it printed."""
        succeeded, said = self.attempt(*words)
        if not succeeded:
            raise self.failure(words[0])
        return said

    def attempt(self, *words: str) -> tuple[bool, str]:
        """Runs a subcommand; returns whether it succeeded, and what it printed."""
        status = self._processes.wait(self._start(*words))
        return status == 0, self.log.read_text(encoding="utf-8")

    def versions(self) -> str:
        """With what the working copy is run, such as `Terraform 1.11.4, hashicorp/aws 5.54.1`."""
        known = json.loads(self.run("version", "-json"))
        providers = (
            f"{address.partition('/')[2]} {version}"
            for address, version in known["provider_selections"].items()
        )
        return ", ".join([f"Terraform {known['terraform_version']}", *providers])

    def _start(self, *words: str) -> Child:
        plain = () if words[0] == "version" else ("-no-color",)
        command = ["terraform", words[0], *plain, *words[1:]]
        return self._processes.start(
            f"terraform {words[0]}", command, env=self.env, cwd=self.folder, log=self.log
        )

    def failure(self, what: str) -> Failure:
        """A subcommand that failed, with the end of what it said."""
        said = "\n".join(last_lines(self.log, 40))
        return Failure(f"terraform {what} failed:\n{said}", f"its output is in {shown(self.log)}")
