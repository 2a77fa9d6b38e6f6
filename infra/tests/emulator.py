"""moto as a server, deciding as AWS would: `emulator.py -H HOST -p PORT`.

Nothing is refused until `POST /moto-api/reset-auth` with the body `0`.
"""

from __future__ import annotations

import sys

from moto.server import main

from iam import enforce

if __name__ == "__main__":
    enforce()
    main(sys.argv[1:])
