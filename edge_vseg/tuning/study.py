"""A study: Optuna proposes settings, trials run, and everything is on the disk at every moment.

Reference: Akiba et al., Optuna: A Next-generation Hyperparameter Optimization Framework, KDD 2019; the sampler is the
multivariate tree-structured Parzen estimator for several objectives (Ozaki et al., Multiobjective Tree-Structured
Parzen Estimator, JAIR 2022).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edge_vseg.errors import BackendMissingError, OptionError
from edge_vseg.files import hold_folder, make_folder
from edge_vseg.tuning.front import StudyTrial
from edge_vseg.tuning.setting import Setting
from edge_vseg.tuning.space import SearchSpace
from edge_vseg.tuning.wish import DIRECTIONS, Figures

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

JOURNAL = "journal.log"
STARTUP_TRIALS = 16
"""Trials that are random, before the sampler learns from them."""
GOOD_SHARE = 0.25
"""Share of the trials that the sampler takes for good ones: a front has many, and a tenth would be of one policy."""
TIE_BREAK = 1e-5
"""Points of quality that the sampler is told less for each trial before. Parameters that do not matter give equal
figures again and again, none of them would be beaten, and the sampler would go on there."""
_SETTING, _FIGURES, _FAILURE = "setting", "figures", "failure"
SamplerName = Literal["tpe", "random"]


class Study:
    """Proposes settings in rounds and keeps what they gave. Open it with :meth:`open`.

    A round is proposed as a whole, from the rounds before it, so its size decides the result and the number of workers
    does not. A study that was stopped goes on as if it had not been: each proposal is seeded by its number. Trials that
    are added later follow those that are there, so whole rounds give what they would have given at once.
    """

    def __init__(self, study: optuna.Study, space: SearchSpace, seed: int, sampler: SamplerName) -> None:
        self._study = study
        self._space = space
        self._seed = seed
        self._sampler = sampler

    @classmethod
    @contextlib.contextmanager
    def open(
        cls, folder: Path, space: SearchSpace, about: str, *, seed: int = 0, sampler: SamplerName = "tpe"
    ) -> Iterator[Study]:
        """Open a study in a folder, or begin one.

        Args:
            folder: Holds the journal; made if it is not there.
            space: What may vary.
            about: Everything that makes it this study and no other; several can share a folder.
            seed: Of the sampler.
            sampler: ``random`` for comparison.

        Raises:
            BackendMissingError: If Optuna is not installed.
            OptionError: If another process is in the folder, or the journal is damaged.
        """
        optuna = _import_optuna()
        make_folder(folder)
        with alone_in(folder):
            name = hashlib.sha256(f"{about} {seed} {sampler}".encode()).hexdigest()[:16]
            try:
                backend = optuna.storages.journal.JournalFileBackend(str(folder / JOURNAL))
                storage = optuna.storages.JournalStorage(backend)
                study = optuna.create_study(
                    storage=storage, study_name=name, directions=list(DIRECTIONS), load_if_exists=True
                )
            except (ValueError, KeyError) as exc:  # json's error is a ValueError
                raise OptionError(f"{folder / JOURNAL} is damaged: {exc}; give another --study folder") from exc
            others = len(optuna.study.get_all_study_names(storage)) - 1
            if not study.trials and others:
                log.warning(
                    "%s begins a new study: it has %d of other networks, clips, options or versions",
                    folder,
                    others,
                )
            if not study.trials:
                study.enqueue_trial(space.default())
            yield cls(study, space, seed, sampler)

    def run(
        self,
        trials: int,
        evaluate: Callable[[Mapping[int, Setting]], Iterator[tuple[int, Figures | str]]],
        round_size: int = 1,
        progress: Callable[[int], None] = lambda done: None,
    ) -> None:
        """Run until the study has so many trials.

        Args:
            trials: Trials in all, those of earlier calls included.
            evaluate: Runs a round, settings by trial number; gives figures, or why a trial failed, as they are done.
            round_size: Settings that are proposed at a time.
            progress: Called with the number of trials done.
        """
        while self.done < trials:
            under_way = self._under_way()
            # A round ends where it always does, also after a stop in the middle of it, and also if trials are added.
            end = min(trials, (self.done // round_size + 1) * round_size)
            while self.done + len(under_way) < end:
                trial = self._study.ask()
                under_way[trial.number] = trial
            settings = {number: self._setting(trial) for number, trial in sorted(under_way.items())}
            answers: dict[int, Figures | str] = {}
            done = self.done
            for number, answer in evaluate(settings):
                answers[number] = answer
                progress(done + len(answers))
            for number in settings:  # in their order, whoever was first
                self._tell(under_way[number], answers[number])

    @property
    def done(self) -> int:
        """Trials that have been done."""
        return sum(trial.state.is_finished() for trial in self._study.get_trials(deepcopy=False))

    def trials(self) -> list[StudyTrial]:
        """The trials that have been done, in the order of their numbers."""
        return [_read(trial) for trial in self._study.get_trials(deepcopy=False) if trial.state.is_finished()]

    def importances(self) -> dict[str, float]:
        """How much each parameter matters for the quality, shares of 1, largest first; empty after too few trials.

        Reference: Watanabe et al., PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces,
        IJCAI 2023.
        """
        optuna = _import_optuna()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = optuna.importance.get_param_importances(self._study, target=lambda trial: trial.values[0])
        except (RuntimeError, ValueError):  # none or one trial, or all alike
            return {}
        return {name: float(share) for name, share in found.items() if share > 0}

    def _under_way(self) -> dict[int, optuna.trial.Trial]:
        """Trials that were proposed and not finished, because the process was stopped."""
        optuna = _import_optuna()
        known = self._study.get_trials(deepcopy=False)
        running = [each for each in known if each.state == optuna.trial.TrialState.RUNNING]
        return {each.number: optuna.trial.Trial(self._study, each._trial_id) for each in running}

    def _setting(self, trial: optuna.trial.Trial) -> Setting:
        is_default = not trial.number
        self._study.sampler = self._make_sampler(trial.number)  # it is asked when values are suggested
        setting = self._space.suggest(trial)
        trial.set_user_attr(_SETTING, setting.tree() | {"default": is_default})
        return setting

    def _tell(self, trial: optuna.trial.Trial, answer: Figures | str) -> None:
        optuna = _import_optuna()
        if isinstance(answer, str):
            trial.set_user_attr(_FAILURE, answer)
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return
        trial.set_user_attr(_FIGURES, {name: getattr(answer, name) for name in Figures.__dataclass_fields__})
        for number, excess in enumerate(self._space.wish.excess(answer)):
            trial.set_constraint(f"limit {number}", excess)
        quality, *others = answer.objectives
        self._study.tell(trial, values=[quality - TIE_BREAK * trial.number, *others])

    def _make_sampler(self, number: int) -> Any:
        optuna = _import_optuna()
        seed = int.from_bytes(hashlib.sha256(f"{self._seed} {number}".encode()).digest()[:4], "big")
        if self._sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # grouping is called experimental
            return optuna.samplers.TPESampler(
                seed=seed,
                n_startup_trials=STARTUP_TRIALS,
                gamma=lambda count: math.ceil(GOOD_SHARE * count),
                multivariate=True,
                group=True,
            )


def _read(trial: optuna.trial.FrozenTrial) -> StudyTrial:
    tree = dict(trial.user_attrs[_SETTING])
    default = tree.pop("default")
    figures = trial.user_attrs.get(_FIGURES)
    return StudyTrial(
        number=trial.number,
        setting=Setting(**tree),
        figures=None if figures is None else Figures(**figures),
        failure=trial.user_attrs.get(_FAILURE, ""),
        default=default,
    )


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError as exc:
        raise BackendMissingError("tuning needs Optuna: pip install 'edge-vseg[tune]'") from exc
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def alone_in(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Keep other processes out of a study's folder, which is made if it is not there; this one may come in again.

    Raises:
        OptionError: If another process is in it.
    """
    return hold_folder(folder, f"another edge-vseg tune is working in {folder}; wait for it, or give another --study")
