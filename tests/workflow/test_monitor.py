"""`nbship monitor` on a published project: versions, stages, windows, and what a person is told."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from nbship.config import Monitor
from nbship.errors import NbshipError, UsageError
from nbship.monitoring.records import write_records
from nbship.package.sample import SAMPLE
from nbship.versions import registry, stages
from nbship.workflow.monitor import MonitorWindow, monitor, read_reference_of
from nbship.workflow.publish import publish
from tests.repositories import git
from tests.runs import NAME, make_pipeline, make_run

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PIPELINE = make_pipeline(monitor=Monitor(store="records"))


def ask(root, count, shift=0.0, version="v1.2.0", days=3.0):
    x = np.random.default_rng(0).choice(20, count) + 0.5 + shift
    index = pd.Index([f"{version}-{days}-{place}" for place in range(count)], name="id")
    times = [NOW - timedelta(days=days) + timedelta(seconds=place) for place in range(count)]
    answers = pd.DataFrame({"time": times, "version": version, "prediction": 2.0 * x}, index=index)
    write_records(str(root / "records"), NAME, pd.DataFrame({"x": x}, index=index), answers)


def test_what_is_asked_as_it_was_trained_on_is_quiet_and_what_is_not_asks_to_act(root):
    ask(root, 40)
    quiet = monitor(root, PIPELINE, now=NOW)
    assert quiet.examination.decision.state == "quiet", quiet.examination.decision
    assert (quiet.examination.version, quiet.examination.rows) == ("v1.2.0", 40)
    ask(root, 60, shift=1000.0, days=1)
    found = monitor(root, PIPELINE, MonitorWindow(since="2d"), now=NOW)
    assert (found.examination.decision.state, found.examination.rows) == ("act", 60)
    written = json.loads((found.page.parent / "monitor.json").read_text())
    assert written["decision"]["state"] == "act"
    assert {finding["state"] for finding in written["findings"]} >= {"act"}
    page = found.page.read_text()
    assert "Act: it is not what it was" in page and "<svg" in page and "What to do" in page
    assert "http" not in page.replace("http-equiv", "")  # asks nobody


def test_versions_and_stages(root):
    ask(root, 30, version="v1.0.0")
    older = monitor(root, PIPELINE, MonitorWindow(version="v1.0.0"), now=NOW).examination
    assert (older.version, older.rows) == ("v1.0.0", 30)
    against = monitor(root, PIPELINE, MonitorWindow(version="v1.0.0", against="v1.1.0"), now=NOW).examination
    assert against.reference == "v1.1.0" and "another version" in against.notes[0]
    assert monitor(root, PIPELINE, now=NOW).examination.decision.state == "too few"
    version = next(each for each in registry.versions(root, NAME) if each.version == "v1.0.0")
    stages.assign(root, NAME, "staging", version, "deploy")
    assert monitor(root, PIPELINE, MonitorWindow(stage="staging"), now=NOW).examination.version == "v1.0.0"


def test_the_sample_of_a_version_comes_from_the_cache_or_is_missed(root):
    (root / "models/line" / SAMPLE).unlink()
    described, sample = read_reference_of(root, NAME, "v1.1.0")
    assert sample is not None and len(sample.inputs["x"]) == described.rows
    shutil.rmtree(root / ".dvc/cache")
    with pytest.raises(NbshipError, match=f"no DVC remote gives {SAMPLE}"):
        read_reference_of(root, NAME, "v1.1.0")


@pytest.mark.parametrize(
    ("window", "message"),
    [
        (MonitorWindow(version="v9.0.0"), "no version 'v9.0.0'"),
        (MonitorWindow(stage="nowhere"), "nothing of line was deployed to nowhere"),
        (MonitorWindow(version="v1.0.0", stage="staging"), "say the same thing"),
        (MonitorWindow(since="yesterday"), "--since yesterday: not a time"),
        (MonitorWindow(since="99999999999d"), "too long ago"),
        (MonitorWindow(until="soon"), "--until soon: not a time"),
    ],
)
def test_what_is_not_understood(published, window, message):
    with pytest.raises(UsageError, match=message):
        monitor(published, PIPELINE, window, now=NOW)


def test_a_store_must_be_named(published):
    with pytest.raises(UsageError, match="nothing says where the records of line are"):
        monitor(published, make_pipeline(), now=NOW)


def test_the_sample_is_not_for_git(project):
    make_run(project, "20250101-000000-aaaa")
    publish(project, make_pipeline(), commit=True)
    assert git(project, "status", "--porcelain") == ""
    assert SAMPLE in (project / "models/line/model.joblib.dvc").read_text()
    assert SAMPLE not in git(project, "ls-files")
