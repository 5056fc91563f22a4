"""The real command for things that end by themselves."""

from __future__ import annotations

import subprocess
import sys

from tests.support import warm
from tests.support.process import ROOT

DEADLINE_S = 20.0


def gateway(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`gateway ARGUMENTS` run to its end, from the root of the repository; it never shows a traceback."""
    if warm.is_possible():
        process = warm.Warm(arguments, ROOT, warm.environment())
        output, errors = process.communicate(DEADLINE_S)
        result = subprocess.CompletedProcess(process.args, process.wait(), output, errors)
        assert "Traceback" not in result.stderr, result.stderr
        return result
    result = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=DEADLINE_S,
        check=False,
    )
    assert "Traceback" not in result.stderr, result.stderr
    return result
