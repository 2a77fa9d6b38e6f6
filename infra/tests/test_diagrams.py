"""The diagrams show what the code has."""

from __future__ import annotations

import html
import importlib.util
import re
import unittest
from pathlib import Path

INFRA = Path(__file__).parent.parent
DIAGRAMS = INFRA.parent / "diagrams"


class Diagrams(unittest.TestCase):
    def test_every_type_of_resource_is_shown(self) -> None:
        spec = importlib.util.spec_from_file_location("architecture", DIAGRAMS / "architecture.py")
        assert spec and spec.loader
        architecture = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(architecture)
        text = "".join(path.read_text(encoding="utf-8") for path in INFRA.glob("*.tf"))
        self.assertEqual(
            set(re.findall(r'^resource "(\w+)"', text, re.MULTILINE)), set(architecture.SHOWN)
        )
        for theme in architecture.THEMES:
            svg = DIAGRAMS / f"architecture-{theme}.svg"
            drawn = html.unescape(svg.read_text(encoding="utf-8"))
            for node in set(architecture.SHOWN.values()):
                self.assertTrue(
                    f"<title>{node}</title>" in drawn,
                    f"{node} is missing in the {theme} one: `make diagrams` draws it anew",
                )


if __name__ == "__main__":
    unittest.main()
