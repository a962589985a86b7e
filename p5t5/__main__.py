"""``python -m p5t5`` is ``p5t5``."""

import sys

from p5t5.cli.main import main

sys.exit(main())
