"""One file a command, each with ``main(argv) -> exit code``."""

import os

# GNU OpenMP's threads wait by spinning. Where anything else wants a core, the spinning thread keeps it from
# the one that is waited for: with two busy neighbours, two threads took five times as long as sleeping ones
# (docs/lab.md). It must be set before torch is loaded, and so before any command runs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
