"""Cases that go wrong on purpose: a campaign that does not count them counts nothing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from workers import OUTCOMES, Judge, Verdict, note_kind


def prepare_planted(folder: Path, seed: int) -> Judge:
    """Each outcome in turn; the process really dies and really hangs."""
    folder.mkdir(parents=True, exist_ok=True)

    def judge(number: int) -> Verdict:
        outcome = OUTCOMES[number % len(OUTCOMES)]
        note_kind(folder, "planted")
        if outcome == "died":
            os.kill(os.getpid(), signal.SIGSEGV)
        if outcome == "hung":
            time.sleep(3600)
        return Verdict(kind="planted", outcome=outcome)

    return judge
