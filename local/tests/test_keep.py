"""A local run with the user's own definition loses no grant."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import unittest
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent.parent))

from console import Failure, Stopped
from keep import Keep, credentials_in
from workspace import ROOT, write_private

RUN = ROOT / "local" / "run.py"
PATIENCE = 600.0
"""A first run builds the function."""


class Emulator:
    """What `Keep` asks of the emulator."""

    def __init__(self, grants: Mapping[str, Mapping[str, Any]], held: int = 0) -> None:
        self._grants, self._held = grants, held
        self.interruptions = 0

    def grants(self) -> Mapping[str, Mapping[str, Any]]:
        if self._held > 0:
            raise AssertionError("asked while a run holds the source")
        if self.interruptions:
            self.interruptions -= 1
            raise Stopped(signal.SIGINT)
        return self._grants

    def leases(self) -> list[str]:
        self._held -= 1
        return ["leases/acme-crm"] if self._held > 0 else []


class Case(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.kept = self.folder / "kept.json"
        self.enterContext(mock.patch.dict(os.environ))
        for variable in ("SOURCE", "KEEP", "EVENT"):
            os.environ.pop(variable, None)

    if sys.version_info < (3, 11):

        def enterContext(self, context: Any) -> Any:
            self.addCleanup(context.__exit__, None, None, None)
            return context.__enter__()

    def source(self, definition: object) -> Path:
        path = self.folder / "acme-crm.json"
        path.write_text(json.dumps(definition))
        return path

    def keep(self, definition: object, path: Path | None = None) -> Keep:
        os.environ["KEEP"] = str(path or self.kept)
        made = Keep(self.source(definition), "acme-crm")
        made.is_asked = True
        return made


class Definitions(unittest.TestCase):
    def test_only_a_definitions_own_fields_are_credentials(self) -> None:
        for text, expected in {
            '{"client_id": "c", "response": {"access_token": "data"}}': {},
            '{"grants": {"refresh_token": {"credential": "none"}}}': {},
            '{"refresh_token": "a"}': {"acme": ["a"]},
            '{"access_token": "a", "refresh_token": "b"}': {"acme": ["a", "b"]},
            '{"sources": {"one": {"refresh_token": "a"}, "two": {}}}': {"one": ["a"]},
            '{"refresh_token": "a", "refresh_token": "b"}': {"acme": ["a", "b"]},
            '{"sources": {"one": {"refresh_token": "a"}}, "sources": {}}': {"one": ["a"]},
            '{"sources": {"one": {"refresh_token": "a"}, "one": {}}}': {"one": ["a"]},
            '{"sources": []}': {},
            '{"sources": {"one": null}}': {},
        }.items():
            with self.subTest(text):
                found = credentials_in(text, "acme")
                values = {name: [value for _, value in fields] for name, fields in found.items()}
                self.assertEqual(values, expected)


class Saving(Case):
    def said(self, kept: Keep) -> tuple[int, str]:
        with contextlib.redirect_stderr(io.StringIO()) as said:
            status = kept.tell()
        return status, said.getvalue()

    def test_what_came_is_kept_for_its_owner_alone(self) -> None:
        with self.keep({"refresh_token": "first"}) as kept:
            self.assertEqual(self.kept.read_text(), "", "the name is taken from the beginning on")
            kept.save(Emulator({"acme-crm": {"refresh_token": "second", "generation": 1}}))
        self.assertEqual(json.loads(self.kept.read_text()), {"refresh_token": "second"})
        self.assertEqual(stat.S_IMODE(self.kept.stat().st_mode), 0o600)
        self.assertEqual(sorted(self.folder.iterdir()), [self.folder / "acme-crm.json", self.kept])
        status, said = self.said(kept)
        self.assertEqual(status, 0)
        self.assertIn(str(self.kept), said)
        self.assertNotIn("second", said)
        self.assertNotIn("stays good", said)

    def test_packed_sources_keep_their_names(self) -> None:
        packed = {"sources": {"one": {"refresh_token": "a"}, "two": {"refresh_token": "b"}}}
        with self.keep(packed) as kept:
            kept.save(Emulator({"one": {"refresh_token": "a"}, "two": {"refresh_token": "c"}}))
        self.assertEqual(
            json.loads(self.kept.read_text()), {"sources": {"two": {"refresh_token": "c"}}}
        )

    def test_nothing_is_read_while_a_run_holds_the_source(self) -> None:
        with mock.patch("keep.POLL_SECONDS", 0), self.keep({"refresh_token": "first"}) as kept:
            kept.save(Emulator({"acme-crm": {"refresh_token": "second"}}, held=5))
        self.assertEqual(json.loads(self.kept.read_text()), {"refresh_token": "second"})

    def test_a_signal_in_the_midst_of_it_loses_nothing(self) -> None:
        emulator = Emulator({"acme-crm": {"refresh_token": "second"}})
        emulator.interruptions = 1
        with self.assertRaises(Stopped), self.keep({"refresh_token": "first"}) as kept:
            kept.save(emulator)
        self.assertEqual(json.loads(self.kept.read_text()), {"refresh_token": "second"})

    def test_a_file_that_cannot_be_written_is_made_up_for_elsewhere(self) -> None:
        elsewhere = self.folder / "elsewhere"
        elsewhere.mkdir()
        full = OSError(28, "No space left on device")
        with (
            mock.patch("keep.LOCAL", elsewhere),
            mock.patch("keep.write_private", wraps=write_private, side_effect=[full, mock.DEFAULT]),
            self.keep({"refresh_token": "first"}) as kept,
        ):
            kept.save(Emulator({"acme-crm": {"refresh_token": "second"}}))
        (found,) = elsewhere.iterdir()
        self.assertEqual(json.loads(found.read_text()), {"refresh_token": "second"})
        self.assertEqual(stat.S_IMODE(found.stat().st_mode), 0o600)
        self.assertFalse(self.kept.exists())
        status, said = self.said(kept)
        self.assertEqual(status, 1)
        self.assertIn(str(found), said)

    def test_nothing_came_and_the_old_one_stays_good(self) -> None:
        for grants in ({}, {"acme-crm": {"refresh_token": "first", "generation": 1}}):
            with self.subTest(grants):
                with self.keep({"refresh_token": "first"}) as kept:
                    kept.report = report("refreshed")
                    kept.save(Emulator(grants))
                self.assertFalse(self.kept.exists())
                self.assertIn("stays good", self.said(kept)[1])

    def test_what_is_not_known_is_not_said(self) -> None:
        for answer in (None, report("failed", "endpoint_timeout"), report("deferred")):
            with self.subTest(answer):
                with self.keep({"refresh_token": "first"}) as kept:
                    kept.report = answer
                    kept.save(Emulator({}))
                status, said = self.said(kept)
                self.assertEqual(status, 0)
                self.assertIn("no new credential", said)
                self.assertNotIn("stays good", said)

    def test_nothing_was_asked_so_nothing_can_be_lost(self) -> None:
        with self.keep({"refresh_token": "first"}) as kept:
            kept.is_asked = False
        self.assertIn("stays good", self.said(kept)[1])
        self.assertFalse(self.kept.exists())


def report(outcome: str, code: str | None = None) -> dict[str, Any]:
    """As the function answers, with what `Keep` looks at."""
    error = {"code": code} if code else None
    return {"sources": [{"source": "acme-crm", "outcome": outcome, "attempts": 1, "error": error}]}


class Refusals(Case):
    """Through `local/run.py`, which refuses before it builds or requests."""

    def run_with(self, **variables: str) -> str:
        answer = subprocess.run(
            [sys.executable, RUN],
            check=False,
            cwd=ROOT,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(answer.returncode, 1, answer.stderr)
        self.assertEqual(answer.stdout, "")
        sentence, *hints = answer.stderr.splitlines()
        self.assertTrue(sentence.startswith("error: "), answer.stderr)
        self.assertTrue(all(hint.startswith("hint: ") for hint in hints), answer.stderr)
        return answer.stderr

    def test_no_run_without_a_place_for_what_comes(self) -> None:
        source = self.source({"token_endpoint": "https://as.invalid/", "refresh_token": "s3cret"})
        said = self.run_with(SOURCE=str(source))
        self.assertIn("KEEP=", said)
        self.assertNotIn("s3cret", said)
        packed = self.source({"sources": {"one": {"access_token": "s3cret"}}})
        self.assertIn("an access_token", self.run_with(SOURCE=str(packed)))

    def test_no_place_that_cannot_be_made(self) -> None:
        source = str(self.source({"refresh_token": "first"}))
        there, dangling = self.folder / "there", self.folder / "dangling"
        there.touch()
        dangling.symlink_to(self.folder / "nowhere")
        for path, expected in {
            there: "is there already",
            dangling: "is there already",
            self.folder: "is a folder",
            self.folder / "no" / "such.json": "there is no folder",
            there / "in-a-file.json": "there is no folder",
        }.items():
            with self.subTest(path):
                self.assertIn(expected, self.run_with(SOURCE=source, KEEP=str(path)))
        self.assertEqual(there.read_text(), "")

    def test_nothing_to_keep_without_a_source(self) -> None:
        self.assertIn("SOURCE", self.run_with(KEEP=str(self.kept)))
        self.assertFalse(self.kept.exists())

    def test_a_name_that_was_taken_meanwhile(self) -> None:
        made = self.keep({"refresh_token": "first"})
        self.kept.write_text("somebody's")
        with self.assertRaises(Failure), made:
            self.fail("the run began")
        self.assertEqual(self.kept.read_text(), "somebody's")


class TokenEndpoint(ThreadingHTTPServer):
    """Replaces every refresh token, and answers when it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked, self.may_answer = threading.Event(), threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                server.asked.set()
                server.may_answer.wait(9)
                body = json.dumps(
                    {"access_token": "t", "token_type": "Bearer", "refresh_token": "second"}
                ).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Interrupted(Case):
    def test_a_run_that_is_stopped_keeps_the_answer_that_is_on_its_way(self) -> None:
        endpoint = TokenEndpoint()
        self.addCleanup(endpoint.server_close)
        self.addCleanup(endpoint.shutdown)
        source = self.source(
            {
                "token_endpoint": f"http://127.0.0.1:{endpoint.server_address[1]}/token",
                "client_id": "client",
                "client_secret": "secret",
                "refresh_token": "first",
            }
        )
        run = subprocess.Popen(
            [sys.executable, RUN],
            cwd=ROOT,
            env={**os.environ, "SOURCE": str(source), "KEEP": str(self.kept)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        said: list[str] = []
        waiting = threading.Event()

        def listen() -> None:
            assert run.stderr
            for line in run.stderr:
                said.append(line)
                if "stopping once" in line:
                    waiting.set()

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        self.addCleanup(end, run)
        until(lambda: endpoint.asked.is_set() or run.poll() is not None)
        os.killpg(run.pid, signal.SIGINT)
        self.assertTrue(waiting.wait(10), "".join(said))
        endpoint.may_answer.set()
        status = run.wait(PATIENCE)
        listener.join()
        self.assertEqual(status, 128 + signal.SIGINT, "".join(said))
        self.assertEqual(json.loads(self.kept.read_text()), {"refresh_token": "second"})
        self.assertIn(str(self.kept), "".join(said))


def end(run: subprocess.Popen[str]) -> None:
    """Ends a run that a failed test left, with its children."""
    if run.poll() is None:
        run.terminate()
        run.wait(30)
    if run.stderr:
        run.stderr.close()


def until(holds: Callable[[], bool]) -> None:
    """Waits for something, as long as a first build takes."""
    asked = threading.Event()
    for _ in range(int(PATIENCE / 0.1)):
        if holds():
            return
        asked.wait(0.1)
    raise AssertionError("it took too long")


if __name__ == "__main__":
    unittest.main()
