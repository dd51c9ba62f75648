"""The training loop: restartable at any step, on a CPU or a GPU."""

from __future__ import annotations

import contextlib
import csv
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.errors import OptionError, WeightsError
from edge_vseg.export.reference.scenes import SceneFrame
from edge_vseg.export.reference.training.checkpoint import Average, RunState
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.objective import Trainee, losses
from edge_vseg.export.reference.training.schedule import learning_rate
from edge_vseg.export.reference.training.training_data import Batch, batches, class_shares
from edge_vseg.export.reference.training.validation import evaluate, iou_row
from edge_vseg.export.reference.zoo.spec import SPECS
from edge_vseg.export.reference.zoo.two_branch import TwoBranch
from edge_vseg.export.reference.zoo.weights import write_weights
from edge_vseg.signals import defer_interrupt

logger = logging.getLogger(__name__)

LOG, WEIGHTS = "log.csv", "weights.safetensors"
CHECKPOINT_EVERY_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingData:
    """Frames of a run.

    Attributes:
        train: Frames that are learnt.
        val: Frames that are only evaluated; may be empty.
        streets: Rendered frames, mixed into the batches; may be empty.
    """

    train: Sequence[LabelledFrame]
    val: Sequence[LabelledFrame]
    streets: Sequence[SceneFrame] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stands, told after every step.

    Attributes:
        step: Steps done.
        steps: Steps of the whole run.
        loss: Loss of the step.
        miou: mIoU on the validation frames in percent at the last evaluation, NaN before.
    """

    step: int
    steps: int
    loss: float
    miou: float


def train(
    config: TrainConfig,
    data: TrainingData,
    folder: Path,
    *,
    device: str = "cpu",
    start: dict[str, torch.Tensor] | None = None,
    teacher: TwoBranch | None = None,
    tell: Callable[[Progress], None] = lambda _: None,
) -> Path:
    """Train a network, from where the folder's checkpoint stands.

    Ctrl-C waits for the step at work and is raised after it; then, and after an error anywhere but within a step,
    the checkpoint is written first. An error within a step leaves the last one.

    Args:
        config: The run.
        data: The frames.
        folder: Gets ``checkpoint.pt``, ``log.csv`` and ``weights.safetensors``; with ``keep="best"`` the
            weights from the first evaluation on.
        device: Torch device.
        start: Weights to begin with instead of chance; not used when there is a checkpoint.
        teacher: A trained network to distil from.
        tell: Called after every step.

    Returns:
        The weights: the average over the last steps, or over those before the best evaluation, in float16.

    Raises:
        OptionError: If there is nothing to train on, or nothing to tell the best weights by, a teacher comes without
            a weight or a weight without a teacher, or the folder's checkpoint belongs to other options.
        WeightsError: If the checkpoint is damaged, or ``start`` does not fit.
    """
    if not data.train:
        raise OptionError("there are no frames to train on")
    if config.keep == "best" and not data.val:
        raise OptionError("keep=best needs frames to evaluate on; give some, or keep=last")
    if (teacher is None) != (config.response == config.feature == config.relation == 0):
        raise OptionError("distillation needs a teacher and a weight: give both, such as response=1, or neither")
    folder.mkdir(parents=True, exist_ok=True)
    steps = config.epochs * -(-len(data.train) // config.batch)
    state = _begin(config, device, start)
    state.resume(folder, config)
    shares = class_shares(data.train, SPECS[config.network].classes)
    weights = torch.from_numpy(1 / np.log(config.class_weight_floor + shares)).float().to(device)
    if teacher is not None:
        teacher = teacher.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
    log = _Log(folder / LOG, state.step)
    saved, miou = time.monotonic(), float("nan")
    path = folder / WEIGHTS
    every = max(1, config.evaluate_every * steps // config.epochs)
    with _kept(state, folder, config) as step_at_work:
        for batch in batches(config, data.train, data.streets, state.step, steps):
            rate = learning_rate(config, state.step, steps)
            with step_at_work():
                found = _step(state, _to(batch, device), config, rate, weights, teacher)
            log.add(found)
            if state.step % every == 0 or state.step == steps:
                best, miou = log.best, _report(state, data, log, rate)
                if config.keep == "best" and miou > best:
                    _write(path, state, config)
            if time.monotonic() - saved > CHECKPOINT_EVERY_S or state.step == steps:
                state.save(folder, config)
                saved = time.monotonic()
            tell(Progress(step=state.step, steps=steps, loss=found["total"], miou=miou))
    if config.keep == "last":
        _write(path, state, config)
    return path


@contextlib.contextmanager
def _kept(
    state: RunState, folder: Path, config: TrainConfig
) -> Iterator[Callable[[], contextlib.AbstractContextManager[None]]]:
    """Save the state when the block is left by an error or Ctrl-C; gives a context for each step.

    What is left in the middle of a step is not saved: gone on from, it would give other weights.
    """
    first, whole = state.step, True

    @contextlib.contextmanager
    def step_at_work() -> Iterator[None]:
        nonlocal whole
        with defer_interrupt():
            whole = False
            yield
            whole = True

    try:
        yield step_at_work
    except BaseException:
        if whole and state.step > first:
            with defer_interrupt():
                state.save(folder, config)
        raise


def _begin(config: TrainConfig, device: str, start: dict[str, torch.Tensor] | None) -> RunState:
    torch.manual_seed(config.seed)
    network = TwoBranch(SPECS[config.network])
    if start is not None:
        try:
            network.load_state_dict(start)
        except RuntimeError as exc:
            raise WeightsError(
                f"the weights to start with do not fit {config.network}: {str(exc).splitlines()[-1].strip()}"
            ) from exc
    trainee = Trainee(network).to(device, memory_format=torch.channels_last).train()
    decayed = [value for value in trainee.parameters() if value.ndim > 1]
    others = [value for value in trainee.parameters() if value.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer: torch.optim.Optimizer
    match config.optimizer:
        case "adamw":
            optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
        case "sgd":
            optimizer = torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9)
    return RunState(network=trainee, average=Average(trainee, config.ema), optimizer=optimizer)


def _step(
    state: RunState,
    batch: Batch,
    config: TrainConfig,
    rate: float,
    weights: torch.Tensor,
    teacher: TwoBranch | None,
) -> dict[str, float]:
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    device = batch.images.device.type
    with torch.autocast(device, torch.bfloat16, enabled=_has_bfloat16(device)):
        found = losses(state.network, batch, config, weights, teacher)
    total = torch.stack(list(found.values())).sum()
    state.optimizer.zero_grad(set_to_none=True)
    total.backward()
    nn.utils.clip_grad_norm_(state.network.parameters(), 5.0)
    state.optimizer.step()
    state.step += 1
    state.average.update(state.network, state.step)
    return {name: float(value.detach()) for name, value in (found | {"total": total}).items()}


def _has_bfloat16(device: str) -> bool:
    """Whether bfloat16 is done in hardware: emulated, as on CPUs without AVX-512, a step takes nine times as long."""
    return device != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _report(state: RunState, data: TrainingData, log: _Log, rate: float) -> float:
    row = iou_row(evaluate(state.average.network.network, data.val)) if data.val else {}
    log.write(state.step, rate, row)
    return row.get("miou", float("nan"))


def _write(path: Path, state: RunState, config: TrainConfig) -> None:
    write_weights(path, state.average.network.network, {"config": json.dumps(config.tree())})


def _to(batch: Batch, device: str) -> Batch:
    return replace(
        batch,
        images=batch.images.to(device, memory_format=torch.channels_last, non_blocking=True),
        labels=batch.labels.to(device, non_blocking=True),
        older=batch.older.to(device, memory_format=torch.channels_last, non_blocking=True),
        motion=batch.motion.to(device, non_blocking=True),
        neighbours=batch.neighbours and batch.neighbours.to(device),
    )


class _Log:
    """A CSV of mean losses and evaluations; rows after the checkpoint that a run goes on from are dropped."""

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        self._sums: list[dict[str, float]] = []
        self._begin = time.monotonic()
        rows: list[dict[str, str]] = []
        with contextlib.suppress(FileNotFoundError), path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        self._rows: list[dict[str, object]] = [dict(row) for row in rows]

    @property
    def best(self) -> float:
        """Highest mIoU so far in percent; below any before the first."""
        return max((float(str(row["miou"])) for row in self._rows if row.get("miou")), default=-1.0)

    def add(self, found: dict[str, float]) -> None:
        self._sums.append(found)

    def write(self, step: int, rate: float, evaluated: dict[str, float]) -> None:
        means = {f"loss_{name}": round(float(np.mean([row[name] for row in self._sums])), 5) for name in self._sums[0]}
        seconds = (time.monotonic() - self._begin) / len(self._sums)
        row = {"step": step, "learning_rate": f"{rate:.3g}", "s_per_step": round(seconds, 3), **means}
        self._rows.append(row | {name: round(value, 3) for name, value in evaluated.items()})
        logger.info("%s", self._rows[-1])
        self._sums, self._begin = [], time.monotonic()
        names = list(dict.fromkeys(name for each in self._rows for name in each))
        partial = self._path.with_name(f".{self._path.name}.partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self._rows)
        partial.replace(self._path)
