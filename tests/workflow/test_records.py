"""What the pipeline file says of records reaches a server's container, and is read there as it was meant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest
from typer.testing import CliRunner

from nbship.cli.main import app
from nbship.cluster.manifest import Release, inference_service, predictor
from nbship.config import Deploy, Monitor, Stage, validate
from nbship.errors import UsageError
from nbship.monitoring.records import read_records, write_records
from nbship.package.schema import Column
from nbship.workflow.records import RULES, KeptRelease, log_of, log_settings, prune, settings_of
from tests.cluster.test_kserve import unknown_keys
from tests.projects import write_project

MONITOR = Monitor(store="s3://cars/kept", private={"$(HOME) $$": "drop"}, sample=0.25, seconds=3)


def test_a_container_is_told_what_the_pipeline_file_says():
    told = log_settings(MONITOR)
    assert not any("$" in value for value in told.values())
    log = log_of(told, "cars")
    assert (log.name, log.seconds) == ("cars", 3)
    assert (log.keeping.store, log.keeping.sample) == ("s3://cars/kept", 0.25)
    assert log.keeping.private == {"$(HOME) $$": "drop"}


def test_a_server_keeps_nothing_where_nobody_says_so_or_kserves_logger_does():
    assert log_of({}, "cars") is None
    assert log_settings(Monitor()) == {}
    assert log_settings(MONITOR.model_copy(update={"collector": "http://collector"})) == {}


@pytest.mark.parametrize("rules", ['{"sample": 2}', "{", '{"privat": {}}'])
def test_rules_that_are_not_understood_are_an_error(rules):
    with pytest.raises(UsageError, match=RULES):
        log_of({**log_settings(MONITOR), RULES: rules}, "cars")


def test_a_column_is_not_hashed_without_a_key():
    with pytest.raises(UsageError, match="no key") as caught:
        log_of(log_settings(Monitor(store="x", private={"plate": "hash"})), "cars")
    assert "NBSHIP_RECORDS_KEY" in caught.value.hint


def test_labels_and_pruning_go_by_the_pipeline_file(tmp_path, monkeypatch):
    root = write_project(tmp_path)
    with (root / "pipelines/line.yaml").open("a") as file:
        file.write("monitor: {store: kept, keep: 1, label: {key: order}}\n")
    old = datetime.now(UTC) - timedelta(days=5)
    for record, when in (("a", old), ("b", datetime.now(UTC))):
        inputs = pd.DataFrame({"order": [7.0]}, index=[record])
        answers = pd.DataFrame({"time": when, "version": "v1", "prediction": 1.0}, index=[record])
        write_records(str(root / "kept"), "line", inputs, answers)
    (tmp_path / "labels.csv").write_text("order,value\n7,30\n8,1\n")
    monkeypatch.chdir(root / "pipelines")
    said = CliRunner().invoke(app, ["labels", "add", "line", str(tmp_path / "labels.csv")])
    assert said.exit_code == 0 and said.output.split("\n")[:2] == [
        "new       2",
        "unknown   1: no record has 8",
    ]
    assert read_records(str(root / "kept"), "line").labels["value"].to_dict() == {"a": 30, "b": 30}
    said = CliRunner().invoke(app, ["records", "prune", "line", "--dry-run"])
    assert said.output.startswith("would be removed   1 files")
    said = CliRunner().invoke(app, ["records", "prune", "line"])
    assert said.exit_code == 0
    assert read_records(str(root / "kept"), "line").inputs.index.tolist() == ["b"]


def test_a_pipeline_that_keeps_nothing_is_told_how(tmp_path):
    root = write_project(tmp_path)
    with pytest.raises(UsageError, match="does not say where") as caught:
        prune(root, "line")
    assert "monitor: {store" in caught.value.hint


COLUMNS = [Column(name="plate", type="text"), Column(name="weight", type="number")]


def pipeline(**monitor):
    tree = {"name": "cars", "steps": {"train": {"notebook": "train.ipynb"}}, "monitor": monitor}
    return validate(tree, "cars.yaml")


def release(kept):
    said = {"environment": kept.environment, "secret": kept.secret, "logger": kept.logger}
    return Release("cars", "v1.2.0", "s3://models/cars/v1.2.0", "c0ffee", "d", "r", **said)


@pytest.mark.parametrize("mode", ["Standard", "Knative"])
@pytest.mark.parametrize("collector", [None, "http://nbship-collector.nbship.svc"])
def test_a_deployment_has_records_kept_by_the_server_or_by_kserves_logger(mode, collector):
    said = pipeline(store="s3://kept", private={"plate": "drop"}, sample=0.5, collector=collector)
    kept = settings_of(said, "v1.2.0", COLUMNS)
    wanted = inference_service(release(kept), said.deploy, Stage(namespace="staging"), mode)
    assert unknown_keys(wanted, "V1beta1InferenceService") == []
    predictor = wanted["spec"]["predictor"]
    if collector is None:
        assert "logger" not in predictor
        assert predictor["model"]["envFrom"] == [{"secretRef": {"name": "nbship-records", "optional": True}}]
        told = {each["name"]: each["value"] for each in predictor["model"]["env"]}
        assert log_of(told, "cars").keeping.private == {"plate": "drop"}
    else:
        assert "env" not in predictor["model"] and predictor["logger"]["mode"] == "all"
        parts = urlsplit(predictor["logger"]["url"])
        assert parts.path == "/models/cars/versions/v1.2.0"
        assert parse_qs(parts.query) == {"private": ['{"plate": "drop"}'], "sample": ["0.5"]}
        assert "$" not in predictor["logger"]["url"]


def test_a_deployment_that_keeps_nothing_is_as_it_was():
    kept = settings_of(pipeline(), "v1.2.0", COLUMNS)
    assert kept == KeptRelease()
    bare = Release("cars", "v1.2.0", "s3://models/cars/v1.2.0", "c0ffee", "d", "r")
    assert predictor(release(kept), Deploy()) == predictor(bare, Deploy())


def test_a_private_column_that_the_model_does_not_have_is_not_deployed():
    with pytest.raises(UsageError, match="no column 'plat'"):
        settings_of(pipeline(store="s3://kept", private={"plat": "drop"}), "v1.2.0", COLUMNS)
