"""``p5t5 doctor``: what works here and what does not, and what to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from p5t5.cli.main import run, say
from p5t5.cli.options import parse
from p5t5.core.options import option

MARKS = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}


@dataclass
class DoctorOptions:
    """How to say it."""

    folder: str = option(".", "where models are to be written: its disk is looked at")
    json: bool = option(False, "as JSON")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 1 where something prevents p5t5 from working."""
    return run("doctor", lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    (options,) = parse(
        (DoctorOptions,),
        argv,
        name="doctor",
        about="Looks at packages, processor, memory, disk, threads and the Hub, and says what to do.",
        example="p5t5 doctor",
    )
    from p5t5.workflows.doctor import as_json, doctor, works

    findings = doctor(options.folder)
    if options.json:
        say(json.dumps(as_json(findings), ensure_ascii=False, indent=1))
        return 0 if works(findings) else 1
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        advice = f"  → {finding.advice}" if finding.advice else ""
        say(f"{MARKS[finding.state]}  {finding.name:<{width}}  {finding.found}{advice}")
    say("p5t5 works here." if works(findings) else "p5t5 does not work here: see PROBLEM.")
    return 0 if works(findings) else 1


if __name__ == "__main__":
    sys.exit(main())
