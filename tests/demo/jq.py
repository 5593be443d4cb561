"""Stand-in for jq in the demo: `jq -r .NAME` and `jq -r '.layers[].digest'`, nothing else."""

from __future__ import annotations

import json
import sys

document = json.load(sys.stdin)
expression = sys.argv[-1]
if expression == ".layers[].digest":
    print("\n".join(layer["digest"] for layer in document["layers"]))
elif expression.startswith(".") and expression[1:].isalpha():
    print(document[expression[1:]])
else:
    sys.exit(f"the demo's stand-in for jq does not know {expression!r}")
