"""The contestants: is all there that they need, and how they are built and started."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from console import Failure, step
from tools import Tools, install, is_installed
from workspace import LOCAL, ROOT

HERE = Path(__file__).resolve().parent
PEER = HERE / "peer"
LIBRARIES = Tools(LOCAL / "bench-venv", PEER / "requirements.txt", "0.1 GB")
"""The peer's. AWS's runtime client among them is compiled, which takes about two minutes."""
BUILT = LOCAL / "bench" / "built"
ARCHITECTURE = "arm64" if platform.machine() == "aarch64" else "x86_64"
ZIP = ROOT / "target" / "lambda" / ARCHITECTURE / "bootstrap" / "bootstrap.zip"
"""What `make build` makes, and `make deploy` deploys."""

DEBIAN_PACKAGES = {
    "c++": "g++",
    "cmake": "cmake",
    "make": "make",
    "autoconf": "autoconf",
    "automake": "automake",
    "libtoolize": "libtool",
}
"""What AWS's Python runtime client is compiled with, by the command that proves it is there."""
NOT_DEPLOYED = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "__pycache__")


@dataclass(frozen=True)
class Contestants:
    """Everything that was built."""

    target: Path
    """Cargo's target folder."""

    @property
    def driver(self) -> Path:
        return self.target / "driver" / "driver"

    def program(self, name: str) -> Path:
        """The file of a contestant that is one; of the function: out of the zip."""
        return BUILT / name / "bootstrap"

    def command(self, name: str) -> list[str]:
        """How a contestant is started."""
        if name == "peer":
            return [str(LIBRARIES.bin / "python"), "-m", "awslambdaric", "handler.handler"]
        return [str(self.program(name))]

    def entry(self, name: str) -> dict[str, Any]:
        """A contestant as the driver is told of it."""
        task_root = {"LAMBDA_TASK_ROOT": str(PEER), "PYTHONPATH": str(PEER)}
        environment = task_root if name == "peer" else {}
        return {"command": self.command(name), "environment": environment}

    def bytes(self, name: str) -> int:
        """A program's size; of the peer: its handler with all libraries that it needs."""
        if name == "peer":
            return sum(path.stat().st_size for path in peer_files())
        return self.program(name).stat().st_size

    def zip_bytes(self, name: str) -> int:
        """Size of the zip to deploy; of the peer with its libraries, as `bytes`."""
        if name == "function":
            return ZIP.stat().st_size
        paths = peer_files() if name == "peer" else [self.program(name)]
        return zipped(paths)


def zipped(paths: list[Path]) -> int:
    """How long a zip of these files is."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, path in enumerate(paths):
            archive.write(path, f"{number}")
    return len(buffer.getvalue())


def peer_files() -> list[Path]:
    """What a function with the peer's handler has to bring if it brings its libraries itself."""
    packages = next((LIBRARIES.venv / "lib").glob("python*/site-packages"))
    library = (path for path in packages.rglob("*") if path.is_file())
    skipped = set(NOT_DEPLOYED)
    kept = (path for path in library if not skipped & set(path.relative_to(packages).parts))
    return [PEER / "handler.py", *sorted(kept)]


def check_machine(*, valgrind: bool = False, peer: bool = True) -> None:
    """Fails with a sentence about what is missing, and how to get it."""
    if platform.system() != "Linux" or not Path("/proc/self/schedstat").exists():
        raise Failure("CPU time is read from /proc/<pid>/schedstat, so this needs Linux")
    needed = dict(DEBIAN_PACKAGES) if peer and not is_installed(LIBRARIES) else {}
    if valgrind:
        needed["valgrind"] = "valgrind"
    missing = {command: name for command, name in needed.items() if not shutil.which(command)}
    if missing:
        commands, packages = ", ".join(missing), " ".join(sorted(set(missing.values())))
        raise Failure(
            f"not installed: {commands}",
            f"Debian, Ubuntu: apt install {packages}",
        )


def bare_environment() -> dict[str, str]:
    """What the driver itself is started with: nothing of the user's."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}


def build(env: dict[str, str], *, others: bool = True) -> Contestants:
    """Builds the function and the driver; with `others`, also what the function is compared with."""
    if others and not is_installed(LIBRARIES):
        install(LIBRARIES)
    contestants = Contestants(target_folder(env))
    step("Building the function")
    run(["make", "--no-print-directory", "zip-bootstrap", f"ARCH={ARCHITECTURE}"], ROOT, env)
    unpack(contestants.program("function"))
    step("Building what it is measured with")
    env = env | {"CARGO_TARGET_DIR": str(contestants.target)}
    # In the same way. One by one, so that none gets features of a library that another asked for.
    for name in ("bare", "requests") if others else ():
        machine = f"--{ARCHITECTURE.replace('_', '-')}"
        folder = ["--lambda-dir", str(BUILT)]
        lambda_build = ["cargo", "lambda", "build", "--quiet", "--release", "--locked"]
        run([*lambda_build, "--bin", name, machine, *folder], HERE, env)
    driver = ["--profile", "driver", "--locked", "--package", "driver"]
    run(["cargo", "build", "--quiet", *driver], HERE, env)
    return contestants


def unpack(program: Path) -> None:
    """Takes the function's program out of its zip."""
    program.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(ZIP) as archive:
        program.write_bytes(archive.read("bootstrap"))
    program.chmod(0o755)


def target_folder(env: dict[str, str]) -> Path:
    metadata = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"],
        cwd=ROOT,
        check=False,
        env=env,
        stdout=subprocess.PIPE,
    )
    if metadata.returncode != 0:
        raise Failure("cargo does not know its target folder; its reason is above")
    return Path(json.loads(metadata.stdout)["target_directory"])


def run(command: list[str], folder: Path, env: dict[str, str]) -> None:
    if subprocess.run(command, cwd=folder, env=env, check=False).returncode != 0:
        raise Failure(f"{' '.join(command[:3])} failed; its reason is above")
