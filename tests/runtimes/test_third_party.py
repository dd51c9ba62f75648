"""Another package's runtime that raises whatever it likes: one candidate that failed, and never the end of ``auto``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from deadly_runtime import deadly_runtime, write_deadly_bundle

from edge_vseg import OpenOptions, Segmenter
from edge_vseg.bundle import open_bundle
from edge_vseg.errors import BackendError, SessionError
from edge_vseg.runtimes import GraphSpec, SessionOptions, get_runtime
from edge_vseg.runtimes.doctor import report_runtime
from edge_vseg.runtimes.probing import ProbeRecord, ProbeRule, VariantProbe
from edge_vseg.runtimes.selection.group_timing import time_group

FAILING = ("open raise", "run raise", "open raise-own", "run raise-own")


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with deadly_runtime(tmp_path / "site"):
        yield tmp_path / "site"


@pytest.mark.parametrize("when", ["never", "first"], ids=["in this process", "in a child"])
def test_auto_takes_another(tmp_path: Path, when: str) -> None:
    bundle = write_deadly_bundle(tmp_path / "a.evseg", *FAILING)
    with Segmenter.open(bundle, options=OpenOptions(probe=ProbeRule(when=when))) as segmenter:
        assert segmenter.variant.id == "reference/float"
        assert segmenter.chosen is not None
        rows = {row.variant_id: row for row in segmenter.chosen.table}
    for name in FAILING:
        row = rows[f"deadly/{name.replace(' ', '-')}"]
        assert row.median_ms is None
        assert "runtime 'deadly'" in row.reason
        kind = "DriverError" if name.endswith("own") else "RuntimeError"
        assert f"{kind}: the driver is gone" in row.reason
        assert row.deaths == 0, "it would be tried again at each start"


@pytest.mark.parametrize("graph", FAILING)
def test_a_probe_names_it(tmp_path: Path, graph: str) -> None:
    bundle = open_bundle(write_deadly_bundle(tmp_path / "a.evseg", graph))
    variant = bundle.manifest.variant(f"deadly/{graph.replace(' ', '-')}")
    probe = VariantProbe(bundle=bundle, rule=ProbeRule(), record=ProbeRecord(None))
    with pytest.raises(SessionError, match=r"runtime 'deadly' .*the driver is gone; .*another runtime$"):
        probe.check(variant, SessionOptions())


def test_one_that_cannot_close_has_its_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bundle = open_bundle(write_deadly_bundle(tmp_path / "a.evseg", "close raise"))
    variant = bundle.manifest.variant("deadly/close-raise")
    rows = time_group([variant], {variant.id: SessionOptions()}, root=bundle.root, rounds=1)
    assert rows[variant.id].median_ms is not None
    assert "runtime 'deadly' cannot close a graph" in caplog.text


@pytest.mark.parametrize("graph", ["open raise-interrupt", "run raise-interrupt"])
def test_an_interrupt_is_one(tmp_path: Path, graph: str) -> None:
    bundle = open_bundle(write_deadly_bundle(tmp_path / "a.evseg", graph))
    variant = bundle.manifest.variant(f"deadly/{graph.replace(' ', '-')}")
    with pytest.raises(KeyboardInterrupt):
        time_group([variant], {variant.id: SessionOptions()}, root=bundle.root, rounds=1)


@pytest.mark.parametrize("method", ["version", "providers"])
def test_what_it_cannot_tell(site: Path, method: str) -> None:
    plugin = site / "plugin_deadly.py"
    head, _, tail = plugin.read_text().partition(f"    def {method}(self):\n")
    plugin.write_text(f'{head}    def {method}(self):\n        raise OSError("no licence server")\n{tail}')
    with pytest.raises(BackendError, match=f"'deadly' does not tell its {method}: OSError: no licence server"):
        getattr(get_runtime("deadly"), method)()
    report = report_runtime("deadly")
    assert (report.status, "no licence server" in report.problem) == ("broken", True)


def test_what_it_opens_must_be_a_session(site: Path, tmp_path: Path) -> None:
    bundle = open_bundle(write_deadly_bundle(tmp_path / "a.evseg", "all fine"))
    plugin = site / "plugin_deadly.py"
    plugin.write_text(plugin.read_text().replace("return Session(path, spec)", "return None"))
    variant = bundle.manifest.variant("deadly/all-fine")
    spec = GraphSpec.of(input=variant.input, output=variant.output)
    with pytest.raises(SessionError, match="as a NoneType without provider, run, close"):
        get_runtime("deadly").open(bundle.root / variant.entry, spec, SessionOptions())


def test_auto_takes_another_where_a_session_does_not_tell_its_provider(site: Path, tmp_path: Path) -> None:
    bundle = write_deadly_bundle(tmp_path / "a.evseg", "all fine")
    plugin = site / "plugin_deadly.py"
    raising = '    @property\n    def provider(self):\n        raise RuntimeError("the driver is gone")\n'
    plugin.write_text(plugin.read_text().replace('    provider = "cpu"\n', raising))
    with Segmenter.open(bundle, options=OpenOptions(probe=ProbeRule(when="never"))) as segmenter:
        assert segmenter.variant.id == "reference/float"
        assert segmenter.chosen is not None
        (row,) = [row for row in segmenter.chosen.table if row.variant_id == "deadly/all-fine"]
    assert "runtime 'deadly' cannot open" in row.reason
    assert "RuntimeError: the driver is gone" in row.reason
