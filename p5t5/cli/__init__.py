"""One file per command, each with ``main(argv) -> exit code``: parse, call, print."""

import os

# GNU OpenMP's threads wait by spinning, and a thread that spins keeps the core from the one it waits for as soon
# as anything else wants a core: beside one busy neighbour two threads took four times as long as with this short
# spin, which costs nothing measurable on an idle machine; sleeping at once costs a third there (dev/lab/speed.md#cpu-threads). It
# must be set before torch is loaded, and so before any command runs.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
