"""Stand-in for `shasum -a256` in the demo, the lone dash for standard input included."""

from __future__ import annotations

import hashlib
import sys

if sys.argv[1:] != ["-a256"]:
    sys.exit("the demo's stand-in for shasum knows -a256 only")
print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest() + "  -")
