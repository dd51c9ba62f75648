"""Plot the log of a training run."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from edge_vseg.files import write_whole


def draw_curves(log: Path, output: Path) -> None:
    """Plot losses and mIoU over the steps.

    Args:
        log: ``log.csv`` of a run.
        output: PNG file to write.

    Raises:
        OutputError: If it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with log.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for name in (name for name in rows[0] if name.startswith("loss_")):
        left.plot(*_series(rows, name), label=name.removeprefix("loss_"))
    left.set(xlabel="step", ylabel="loss", yscale="log")
    if left.lines:  # an evaluation that a stopped run of an earlier version owed has a row without losses
        left.legend()
    right.plot(*_series(rows, "miou"), color="tab:green")
    right.set(xlabel="step", ylabel="mIoU on the validation frames, %")
    right.grid(alpha=0.3)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=110, format="png")
    write_whole(output, picture.getvalue())


def _series(rows: list[dict[str, str]], name: str) -> tuple[list[int], list[float]]:
    known = [row for row in rows if row.get(name)]
    return [int(row["step"]) for row in known], [float(row[name]) for row in known]
