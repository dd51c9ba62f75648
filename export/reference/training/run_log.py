"""The log of a training run: a row of mean losses and accuracy for each evaluation."""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

from edge_vseg.files import write_whole

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class LossSums:
    """The losses since the last evaluation, which a run that is stopped keeps for the next row of its log.

    Attributes:
        steps: Number of steps.
        sums: Sum over them of each loss, by name.
    """

    steps: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, step_losses: dict[str, float]) -> None:
        """Add the losses of a step."""
        self.steps += 1
        for name, value in step_losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        """The mean of each loss, by name; empty if there was no step."""
        return {name: value / self.steps for name, value in self.sums.items()}


class RunLog:
    """A CSV of mean losses and evaluations; resuming drops the rows after the checkpoint.

    Args:
        path: The file, which may be there.
        step: Steps that are done.

    Raises:
        OutputError: If it cannot be written.
    """

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        self._begin_s, self._begin_step = time.monotonic(), step
        rows: list[dict[str, str]] = []
        with contextlib.suppress(FileNotFoundError), path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self._rows: list[dict[str, object]] = [dict(row) for row in rows if int(row["step"]) <= step]
        if len(self._rows) < len(rows):  # on the disk, too: they may be of a run whose checkpoint was deleted
            self._save()

    @property
    def best_miou(self) -> float:
        """Highest mIoU so far in percent; -1 before the first evaluation."""
        return max((float(str(row["miou"])) for row in self._rows if row.get("miou")), default=-1.0)

    def has(self, step: int) -> bool:
        """Whether there is a row of a step."""
        return any(int(str(row["step"])) == step for row in self._rows)

    def write(self, step: int, rate: float, losses: LossSums, accuracy: dict[str, float]) -> None:
        """Append a row, and write the file.

        Args:
            step: Steps done.
            rate: Learning rate of the last one.
            losses: Of the steps since the row before.
            accuracy: Of the averaged weights; empty if there are no validation frames.

        Raises:
            OutputError: If it cannot be written.
        """
        row: dict[str, object] = {"step": step, "learning_rate": f"{rate:.3g}"}
        if step > self._begin_step:  # steps before a run was stopped took another process's time
            row["s_per_step"] = round((time.monotonic() - self._begin_s) / (step - self._begin_step), 3)
        row |= {f"loss_{name}": round(value, 5) for name, value in losses.means().items()}
        self._rows.append(row | {name: round(value, 3) for name, value in accuracy.items()})
        logger.info("%s", self._rows[-1])
        self._begin_s, self._begin_step = time.monotonic(), step
        self._save()

    def _save(self) -> None:
        if not self._rows:
            self._path.unlink()
            return
        columns = list(dict.fromkeys(name for each in self._rows for name in each))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(self._rows)
        write_whole(self._path, text.getvalue().encode())
