"""``p5t5 serve``: a model as an HTTP service."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from p5t5.cli.main import run, say
from p5t5.cli.options import parse, quiet
from p5t5.core.errors import UserError
from p5t5.serving.settings import Settings

ABOUT = """Serves a model over HTTP: recommendations, similar items, rankings, ratings, explanations, headlines and
questions in words, many requests in one batch. Feedback counts from the next request on.

  POST /recommend /similar /rank /rate /explain /summarize /query /feedback   (JSON in, JSON out)
  GET  /items?search=…  /describe  /health/live  /health/ready  /metrics  /openapi.json
  POST /admin/reload (with the key) or SIGHUP: read the model's folder again, no request is lost
  SIGTERM: started requests are answered, then it ends

Only this machine reaches it, unless --host says otherwise; then it wants a key: P5T5_API_KEY or --api_key_file."""
EXAMPLE = """p5t5 serve --model runs/quickstart/model --data runs/quickstart/data
  curl -s localhost:8000/recommend --json '{"history": ["Alien (1979)", "Fargo (1996)"], "k": 5}'
  p5t5 serve --model runs/quickstart/model --ui --feedback runs/feedback"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run("serve", lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> None:
    (settings,) = parse((Settings,), argv, name="serve", about=ABOUT, example=EXAMPLE)
    try:
        from p5t5.serving.run import serve
    except ImportError as error:
        raise UserError(f'serve needs {error.name}: pip install "p5t5[serve]".') from error
    quiet()
    if settings.dtype != "float32":
        from p5t5.serving.precision import agreement

        say(agreement(settings))
    serve(settings, say)


if __name__ == "__main__":
    sys.exit(main())
