"""``python -m simulations.generated``: a span as JSON in, its energies out.

The output is, home after home, first the load of every step and then the PV, as 64-bit integers of
this machine. ``generate_community`` is who calls it.
"""

from __future__ import annotations

import json
import sys

from simulations.generated import GeneratedSpan, Place
from simulations.generated.model import generate


def main() -> None:
    """Standard input to standard output."""
    fields = json.load(sys.stdin)
    span = GeneratedSpan(**{**fields, "place": Place(**fields["place"])})
    for energies in generate(span):
        sys.stdout.buffer.write(energies.load_wh.tobytes())
        sys.stdout.buffer.write(energies.pv_wh.tobytes())


if __name__ == "__main__":
    main()
