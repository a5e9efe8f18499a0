"""Runs and versions on a real MLflow server: each once, whatever is cut off, and in nobody's way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nbship.config import Mlflow, Pipeline, Publish
from nbship.errors import NbshipError, UsageError
from nbship.package import open_package
from nbship.pages.sweep_page import SweepRecord, Trial, sweep_folder, write_sweep
from nbship.record import PAGE, State, run_folder, save
from nbship.versions import registry, stages, store
from nbship.workflow.mirror import mirror, sync
from nbship.workflow.publish import publish
from tests.mlflow_server import mlflow_server, way_to
from tests.repositories import git
from tests.runs import NAME, REJECTED, make_pipeline, make_run, model_hash
from tests.servers import CutOffError, Watch

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore")]
FIRST, SECOND, THIRD = "20250101-000000-aaaa", "20250102-000000-bbbb", "20250103-000000-cccc"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def copied_to(address: str, experiment: str, **settings: Any) -> Pipeline:
    """The pipeline; each test has models and runs of its own on the server."""
    return make_pipeline(mlflow=Mlflow(tracking_uri=address, experiment=experiment), **settings)


@pytest.fixture
def worked(project: Path) -> Path:
    """A project with two versions, one of them in production, a rejected run, a failed one, and a sweep."""
    first = make_run(project, FIRST)
    write_page(project, FIRST)
    publish(project, make_pipeline(publish=Publish(target="y", store="../store")), commit=True)
    second = make_run(project, SECOND, slope=3.0, champion=model_hash(first))
    second.steps["train"].parameters = {"C": 3, "text": "x" * 7000}
    second.steps["train"].metrics = {"loss": [3.0, 2.0, 1.5], "nothing": float("nan")}
    save(second, run_folder(project, NAME, SECOND))
    publish(project, make_pipeline(), commit=True)
    version = registry.versions(project, NAME)[-1]
    stages.assign(project, NAME, "production", version, "Serve it")
    make_run(project, THIRD, verdict=REJECTED)
    make_run(project, "20250104-000000-dddd", verdict=None, state=State.FAILED)
    trials = [
        Trial(step=f"train-{n}", parameters={"train.C": n}, state=State.DONE, value=0.5 * n) for n in (1, 2)
    ]
    started = datetime(2025, 1, 5, tzinfo=UTC)
    sweep = SweepRecord(
        id="sweep", pipeline=NAME, started=started, state=State.DONE, metric="train.rmse", trials=trials
    )
    folder = sweep_folder(project, NAME, "sweep")
    folder.mkdir(parents=True)
    write_sweep(sweep, folder)
    return project


def write_page(root: Path, run_id: str) -> None:
    folder = run_folder(root, NAME, run_id)
    (folder / "notebooks").mkdir()
    (folder / PAGE).write_text("<h1>A run</h1>")
    (folder / "notebooks/train.html").write_text("<p>cells</p>")


def seen(address: str, experiment: str) -> dict[str, Any]:
    """All that is there, without what the server numbers and times by itself."""
    from mlflow import MlflowClient

    client = MlflowClient(address, address)
    found = client.get_experiment_by_name(experiment)
    assert found
    runs = {run.data.tags["nbship.run"]: run for run in client.search_runs([found.experiment_id])}
    assert len(runs) == len(client.search_runs([found.experiment_id])), "no run is there twice"
    names = {run.info.run_id: key for key, run in runs.items()}
    versions = [v for v in client.search_model_versions(f"name = '{NAME}'") if v.run_id in names]
    numbers = {str(v.version): v.tags["nbship.version"] for v in versions}
    assert len(numbers) == len(set(numbers.values())), "no version is there twice"
    return {
        "runs": {
            key: (run.info.status, run.data.params, run.data.metrics, verdict(run), parent(run, names))
            for key, run in runs.items()
        },
        "artifacts": {
            key: sorted(file.path for file in client.list_artifacts(run.info.run_id))
            for key, run in runs.items()
        },
        "versions": {v.tags["nbship.version"]: names[v.run_id] for v in versions},
        "aliases": {
            alias: numbers.get(str(number), "another")
            for alias, number in client.get_registered_model(NAME).aliases.items()
        },
    }


def everything(address: str, experiment: str) -> str:
    from mlflow import MlflowClient

    client = MlflowClient(address, address)
    found = client.get_experiment_by_name(experiment)
    assert found
    return json.dumps([run.to_dictionary() for run in client.search_runs([found.experiment_id])])


def verdict(run: Any) -> str:
    return str(run.data.tags.get("nbship.verdict", ""))


def parent(run: Any, names: dict[str, str]) -> str:
    return names.get(run.data.tags.get("mlflow.parentRunId", ""), "")


def forget_model(address: str) -> None:
    """MLflow has models by name, whatever the experiment."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        MlflowClient(address, address).delete_registered_model(NAME)
    except MlflowException as error:
        assert error.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_everything_is_there_once(
    server: str, worked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_model(server)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2-hunter2")
    pipeline = copied_to(server, "once", publish=Publish(target="y", store=store_of(worked, tmp_path)))
    sent = sync(worked, pipeline)
    assert len(sent.runs) == 4 + 3
    assert (sent.versions, sent.missing) == (("v1.0.0", "v1.1.0"), ())
    there = seen(server, "once")
    assert "hunter2" not in everything(server, "once")
    status, parameters, metrics, judged, _ = there["runs"][SECOND]
    assert (status, judged, parameters["train.C"]) == ("FINISHED", "passed", "3")
    assert metrics == {"evaluate.rmse": 0.5, "train.loss": 1.5}
    assert there["runs"][THIRD][3] == "rejected"
    assert there["runs"]["20250104-000000-dddd"][0] == "FAILED"
    assert there["artifacts"][FIRST] == ["index.html", "model", "notebooks"]
    assert there["versions"] == {"v1.0.0": FIRST, "v1.1.0": SECOND}
    assert there["aliases"] == {"champion": "v1.1.0", "production": "v1.0.0"}
    assert there["runs"]["sweep/train-2"][1:] == ({"train.C": "2"}, {"train.rmse": 1.0}, "", "sweep")

    again = sync(worked, pipeline)
    assert (again.runs, again.versions, again.aliases) == ((), (), ())
    stages.assign(worked, NAME, "production", registry.versions(worked, NAME)[0], "Serve the newer one")
    assert sync(worked, pipeline).aliases == ("production",)
    assert seen(server, "once")["aliases"] == {"champion": "v1.1.0", "production": "v1.1.0"}


def store_of(root: Path, tmp_path: Path) -> str:
    """A model store that has the older version, as publishing with --push writes it; DVC has none."""
    old = tmp_path / "old"
    git(root, "worktree", "add", "--quiet", "--detach", str(old), f"{NAME}@v1.0.0")
    folder = old / "models" / NAME
    model = run_folder(root, NAME, FIRST) / "artifacts/train/model.joblib"
    (folder / "model.joblib").write_bytes(model.read_bytes())
    address = str(tmp_path / "models")
    store.put(store.open_store(root, address), NAME, "v1.0.0", folder)
    shutil.rmtree(root / ".dvc/cache")
    return address


def test_the_model_loads_and_predicts_as_it_does_here(server: str, worked: Path) -> None:
    import mlflow

    forget_model(server)
    shutil.rmtree(worked / ".dvc/cache")
    sent = sync(worked, copied_to(server, "loads"))
    assert (sent.versions, sent.missing) == (("v1.1.0",), ("v1.0.0",)), "nothing has the older one"
    mlflow.set_tracking_uri(server)
    loaded = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    package, _ = open_package(worked / "models" / NAME)
    given = loaded.predict(pd.DataFrame([golden.record for golden in package.golden]))
    assert given == pytest.approx([golden.prediction for golden in package.golden])
    assert [column.name for column in loaded.metadata.signature.inputs] == ["x"]


def test_what_is_cut_off_comes_whole_with_the_next_call(server: str, project: Path) -> None:
    """Before a request that changes something, or after it: nothing is there twice, nothing is lost."""
    make_run(project, FIRST)
    write_page(project, FIRST)
    publish(project, make_pipeline(), commit=True)
    forget_model(server)
    watch = Watch()
    with way_to(server, watch) as address:
        sync(project, copied_to(address, "whole"))
        expected = seen(server, "whole")
        changing = {kind(request): number for number, request in enumerate(watch.seen, 1) if changes(request)}
        assert len(changing) > 6
        for number in changing.values():
            experiment = f"cut-{number}"
            forget_model(server)
            cut_at(watch, number, served=number % 2 == 0)
            with pytest.raises(NbshipError, match="the MLflow server"):
                sync(project, copied_to(address, experiment))
            watch.before = watch.after = lambda request: None
            sync(project, copied_to(address, experiment))
            assert seen(server, experiment) == expected, number


def changes(request: str) -> bool:
    return not request.startswith("GET") and "search" not in request


def kind(request: str) -> str:
    """Files are sent alike."""
    return request.partition("/artifacts/")[0]


def cut_at(watch: Watch, number: int, served: bool) -> None:
    counter = count(1)

    def cut(request: str) -> None:
        if next(counter) >= number:
            raise CutOffError

    nothing: Callable[[str], None] = lambda request: None  # noqa: E731
    watch.before, watch.after = (nothing, cut) if served else (cut, nothing)


def test_a_model_from_elsewhere_brings_its_run(server: str, worked: Path) -> None:
    """From nothing: a clone has versions, but no runs."""
    forget_model(server)
    shutil.rmtree(worked / "runs")
    sent = sync(worked, copied_to(server, "elsewhere"))
    assert (sent.runs, sent.versions) == ((), ("v1.0.0", "v1.1.0"))
    there = seen(server, "elsewhere")
    assert there["runs"][SECOND] == ("FINISHED", {}, {"evaluate.rmse": 0.5}, "passed", "")
    assert there["versions"] == {"v1.0.0": FIRST, "v1.1.0": SECOND}


def test_a_server_that_is_away_is_in_nobodys_way(project: Path) -> None:
    make_run(project, FIRST)
    told: list[str] = []
    published = publish(project, copied_to(NOBODY, "away"), commit=True, report=told.append)
    assert published.version == "v1.0.0"
    (line,) = [line for line in told if "MLflow" in line]
    assert line.startswith(f"not copied to MLflow: the MLflow server {NOBODY}: ")
    assert line.endswith("later: nbship mlflow sync line")


def test_a_pipeline_without_a_server_asks_nobody(project: Path) -> None:
    mirror(project, make_pipeline())
    with pytest.raises(UsageError, match="no MLflow server is named"):
        sync(project, make_pipeline())
