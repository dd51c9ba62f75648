"""Studies: rounds, going on after a stop, the same result however they were run. Trials are a formula here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from edge_vseg.bundle import open_bundle
from edge_vseg.errors import OptionError
from edge_vseg.scheduling.policies import POLICIES
from edge_vseg.tuning.front import StudyTrial
from edge_vseg.tuning.setting import Setting
from edge_vseg.tuning.space import SearchSpace, common_variants, has_parts
from edge_vseg.tuning.study import JOURNAL, Study, alone_in
from edge_vseg.tuning.wish import Figures, Wish

WISH = Wish(rate=30.0, deadline_ms=20.0, cpu_share=0.6)


@pytest.fixture
def space(sliced_bundle: Path) -> SearchSpace:
    networks = {"street": open_bundle(sliced_bundle)}
    left_out: dict[str, str] = {}
    return SearchSpace(
        networks=networks, variants=common_variants(networks, left_out), wish=WISH, threads=(1, 2), left_out=left_out
    )


def formula(setting: Setting) -> Figures:
    """The longer the period, the cheaper and the worse; other policies are bad."""
    period = float(setting.parameters.get("period_frames", 20))
    good = setting.policy == "sliced"
    return Figures(
        quality=80.0 - period + 10 * good, accuracy=90.0, p50_ms=5.0, p99_ms=30.0 / period + 5 * (not good),
        cpu_share=min(1.0, 1.2 / period), misses=0.0, age_frames=period, oldest_frames=9, frames=60,
    )  # fmt: skip


def evaluate(settings: Mapping[int, Setting]) -> Iterator[tuple[int, Figures | str]]:
    for number, setting in settings.items():
        yield number, formula(setting) if setting.policy != "regional" else "OptionError: the board has no tiles"


def backwards(settings: Mapping[int, Setting]) -> Iterator[tuple[int, Figures | str]]:
    yield from reversed(list(evaluate(settings)))


def run(folder: Path, space: SearchSpace, trials: int = 24, **given: object) -> list[StudyTrial]:
    with Study.open(folder, space, "a study") as study:
        study.run(trials, given.get("evaluate", evaluate), 8)  # type: ignore[arg-type]
        return study.trials()


def test_it_finds_what_is_good(tmp_path: Path, space: SearchSpace) -> None:
    found = run(tmp_path, space, 60)
    assert len(found) == 60
    assert found[0].default
    assert (found[0].setting.policy, found[0].setting.parameters["milliseconds"]) == ("deadline", 20.0)
    assert [trial.default for trial in found[1:]] == [False] * 59
    late = [trial.setting.policy for trial in found[40:]]
    early = [trial.setting.policy for trial in found[:15]]
    assert late.count("sliced") > 2 * early.count("sliced"), "it learns which policy is good"
    failed = [trial for trial in found if trial.figures is None]
    assert all(trial.failure == "OptionError: the board has no tiles" for trial in failed)


def test_the_order_of_answers_does_not_matter(tmp_path: Path, space: SearchSpace) -> None:
    assert run(tmp_path / "a", space) == run(tmp_path / "b", space, evaluate=backwards)


def test_a_stopped_study_goes_on_as_if_it_had_not_been(tmp_path: Path, space: SearchSpace) -> None:
    whole = run(tmp_path / "whole", space)
    calls = 0

    def breaks_off(settings: Mapping[int, Setting]) -> Iterator[tuple[int, Figures | str]]:
        nonlocal calls
        for answer in evaluate(settings):
            calls += 1
            if calls == 11:
                raise KeyboardInterrupt
            yield answer

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", space, evaluate=breaks_off)
    again: list[int] = []

    def watched(settings: Mapping[int, Setting]) -> Iterator[tuple[int, Figures | str]]:
        again.extend(settings)
        yield from evaluate(settings)

    assert run(tmp_path / "parts", space, evaluate=watched) == whole
    assert again[:8] == list(range(8, 16)), "the round that was broken off comes again, with the same settings"


def test_a_stop_while_settings_are_proposed(
    tmp_path: Path, space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tmp_path / "whole", space)
    run(tmp_path / "parts", space, 8)
    proposed = 0

    def breaks_off(self: SearchSpace, trial: object) -> Setting:
        nonlocal proposed
        proposed += 1
        if proposed == 4:
            raise KeyboardInterrupt
        return suggest(self, trial)  # type: ignore[arg-type]

    suggest = SearchSpace.suggest
    monkeypatch.setattr(SearchSpace, "suggest", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", space)
    monkeypatch.undo()
    assert run(tmp_path / "parts", space) == whole


def test_a_stop_while_answers_are_told(tmp_path: Path, space: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(tmp_path / "whole", space)
    told, tell = 0, Study._tell

    def breaks_off(self: Study, trial: object, answer: object) -> None:
        nonlocal told
        told += 1
        if told == 12:
            raise KeyboardInterrupt
        tell(self, trial, answer)  # type: ignore[arg-type]

    monkeypatch.setattr(Study, "_tell", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", space)
    monkeypatch.undo()
    assert run(tmp_path / "parts", space) == whole


def test_more_trials_add_to_it(tmp_path: Path, space: SearchSpace) -> None:
    run(tmp_path, space, 16)
    assert run(tmp_path, space, 8) == run(tmp_path, space, 16)
    assert len(run(tmp_path, space, 24)) == 24


def test_studies_share_a_folder(tmp_path: Path, space: SearchSpace, caplog: pytest.LogCaptureFixture) -> None:
    run(tmp_path, space, 8)
    run(tmp_path, space, 8)
    assert caplog.messages == []
    with Study.open(tmp_path, space, "another study") as other:
        assert other.done == 0
    assert caplog.messages == [f"{tmp_path} begins a new study: it has 1 of other networks, clips, options or versions"]
    with Study.open(tmp_path, space, "a study", seed=1) as other:
        assert other.done == 0


def test_one_process_at_a_time(tmp_path: Path, space: SearchSpace) -> None:
    program = (
        "import sys, time; from pathlib import Path; from edge_vseg.tuning.study import alone_in\n"
        "with alone_in(Path(sys.argv[1])): print(flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        other.stdout.readline()
        with (
            pytest.raises(OptionError, match="another edge-vseg tune is working in"),
            Study.open(tmp_path, space, "a study"),
        ):
            pass
    finally:
        other.kill()
        other.communicate()
    with alone_in(tmp_path), Study.open(tmp_path, space, "a study"):
        pass


def test_a_damaged_journal_is_told(tmp_path: Path, space: SearchSpace) -> None:
    run(tmp_path, space, 8)
    journal = tmp_path / JOURNAL
    journal.write_bytes(b"{not json\n" + journal.read_bytes())
    with pytest.raises(OptionError, match=r"journal\.log is damaged.*give another --study"):
        run(tmp_path, space, 16)


def test_what_a_variant_has_no_parts_for_is_not_proposed(tmp_path: Path, space: SearchSpace) -> None:
    manifest = space.networks["street"].manifest
    variant = manifest.variants[0]
    assert set(space.policies("street", variant.id)) == set(POLICIES)
    import msgspec

    bare = msgspec.structs.replace(variant, slices=(), context=None, tile=None)
    assert not any(has_parts(bare, needs) for needs in ("slices", "context", "tiles"))
    assert has_parts(bare, "")
    assert has_parts(bare, "any")


def test_variants_that_are_worse_than_the_network_are_left_out(sliced_bundle: Path) -> None:
    import msgspec

    bundle = open_bundle(sliced_bundle)
    (variant,) = bundle.manifest.variants
    bad = msgspec.structs.replace(variant, id="onnxruntime/bad", status="drop")
    from dataclasses import replace

    both = replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, variants=(variant, bad)))
    left_out: dict[str, str] = {}
    assert common_variants({"a": both}, left_out) == (variant.id,)
    assert left_out == {"onnxruntime/bad": "its labels are worse than the network's (status drop)"}
    timed = [
        msgspec.structs.replace(variant, id=name, parity=msgspec.structs.replace(variant.parity, latency_ms=ms))
        for name, ms in (("a", None), ("b", 9.0), ("c", 4.0))
    ]
    three = replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, variants=tuple(timed)))
    assert common_variants({"a": three}, {}) == ("c", "b", "a"), "the fastest is untuned"
    left_out.clear()
    other = replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, variants=(bad,)))
    with pytest.raises(OptionError, match=f"no variant to tune: {variant.id}: b does not have it"):
        common_variants({"a": bundle, "b": other}, left_out)
