"""The chain side of a household: client, keys, outbox, events and deployment.

py-ecc, which eth-account brings along, lets Python recurse a hundred thousand deep once it is
imported. With that a nested document of 100 kB, from a meter's broker or from whoever speaks to a
relay, overruns the machine's stack and kills the process, where Python would raise RecursionError.
So it is imported here, before anything else can, and the limit is put back.
"""

import sys

_limit = sys.getrecursionlimit()
import py_ecc  # noqa: E402, F401 - see above

sys.setrecursionlimit(_limit)
