"""Copies runs and model versions to an MLflow server, each once; what is there already is left alone.

Speaks MLflow's client alone. What a run or a version is, and when it is sent, is the business of `workflow`.
"""

from __future__ import annotations

import logging
import math
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nbship.errors import NbshipError, without_credentials
from nbship.package import Package, load_model
from nbship.package.schema import columns_to_table

if TYPE_CHECKING:
    from mlflow import MlflowClient

EndState = Literal["FINISHED", "FAILED", "KILLED"]
# Tags by which a run and a version are found again.
RUN = "nbship.run"
COMPLETE = "nbship.complete"
VERSION = "nbship.version"
SHA256 = "nbship.sha256"
_MODEL = "model"
# An unreachable server is not waited for as long as MLflow would: nine minutes.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
# What the server takes at once, and in one value.
_BATCH = {"metrics": 1000, "params": 100, "tags": 100}
_LONGEST_PARAMETER = 6000
_LONGEST_TAG = 8000
_PAGE = 1000


@dataclass(frozen=True)
class MlflowRun:
    """A run as MLflow has it.

    Attributes:
        id: nbship's.
        started: When.
        seconds: How long it took.
        state: How it ended, in MLflow's words.
        parameters: Value by `step.parameter`.
        metrics: By `step.metric`: a number, or a number for each step of a training.
        tags: Git's commit, the data's hashes, the verdict and the like.
        files: What is kept with it, by the path there.
        parent: nbship's identifier of the run that this one is a part of; empty if of none.
    """

    id: str
    started: datetime
    seconds: float
    state: EndState
    parameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float | Sequence[float]] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    parent: str = ""


@dataclass(frozen=True)
class MlflowServer:
    """An MLflow server, asked in the name of one experiment.

    Attributes:
        address: Of the tracking server, without credentials.
        client: MLflow's.
        experiment: Its identifier.
    """

    address: str
    client: MlflowClient
    experiment: str


@contextmanager
def connect(tracking: str, registry: str, experiment: str) -> Iterator[MlflowServer]:
    """Yields the server, which has the experiment then; says in one line what it refuses meanwhile.

    Args:
        tracking: Address of the tracking server.
        registry: Address of the model registry; the tracking server's if empty.
        experiment: Its name; it is made where it is not there.

    Raises:
        NbshipError: MLflow is not installed; or the server cannot be reached, or refuses.
    """
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError:
        raise NbshipError(
            "MLflow is not installed here", "install it: pip install 'nbship[mlflow]'"
        ) from None
    shown = without_credentials(tracking)
    try:
        client = MlflowClient(tracking, registry or tracking)
        with _silence():
            yield MlflowServer(shown, client, _experiment(client, experiment))
    except (MlflowException, OSError) as error:
        said = without_credentials(str(error)).strip().splitlines()[0][:300]
        raise NbshipError(
            f"the MLflow server {shown}: {said}",
            "see that it runs, and that MLFLOW_TRACKING_TOKEN or MLFLOW_TRACKING_PASSWORD is right",
        ) from None


@contextmanager
def _silence() -> Iterator[None]:
    """MLflow prints a line for each run that ends, and logs what it waits for."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _experiment(client: MlflowClient, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:  # somebody else was quicker, or it cannot be made
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        hint = "restore it, or name another one: mlflow.experiment"
        raise NbshipError(f"the experiment '{name}' was deleted in MLflow", hint)
    return str(found.experiment_id)


def known_runs(server: MlflowServer) -> dict[str, str]:
    """Returns MLflow's identifiers of the runs that are there whole, by nbship's.

    A run that somebody deleted there counts as well: it is not to come again.
    """
    return {run.data.tags[RUN]: run.info.run_id for run in _runs(server) if COMPLETE in run.data.tags}


def log_run(server: MlflowServer, run: MlflowRun) -> str:
    """Copies a run, or finishes a copy that was begun; returns MLflow's identifier.

    The tag that says that all of it is there comes last, so a copy that was cut off is done again.
    """
    from mlflow.entities import RunTag, ViewType

    client, started = server.client, round(run.started.timestamp() * 1000)
    tags = {**run.tags, RUN: run.id, "mlflow.source.name": "nbship", "mlflow.source.type": "JOB"}
    if run.parent and (parent := next(_runs(server, run.parent, ViewType.ACTIVE_ONLY), None)):
        tags["mlflow.parentRunId"] = parent.info.run_id
    begun = next(_runs(server, run.id, ViewType.ACTIVE_ONLY), None)
    there = begun or client.create_run(server.experiment, started, {RUN: run.id}, run.id)
    identifier = str(there.info.run_id)
    _log_values(client, identifier, run, tags, started)
    _log_files(client, identifier, run.files)
    client.set_terminated(identifier, run.state, started + round(run.seconds * 1000))
    client.log_batch(identifier, tags=[RunTag(COMPLETE, "true")])
    return identifier


def _runs(server: MlflowServer, run_id: str = "", view: int | None = None) -> Iterator[Any]:
    from mlflow.entities import ViewType

    wanted = f"tags.`{RUN}` = '{run_id}'" if run_id else f"tags.`{RUN}` LIKE '%'"
    token = None
    while True:
        page = server.client.search_runs(
            [server.experiment], wanted, view or ViewType.ALL, max_results=_PAGE, page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def _log_values(
    client: MlflowClient, identifier: str, run: MlflowRun, tags: Mapping[str, str], started: int
) -> None:
    from mlflow.entities import Metric, Param, RunTag

    values: dict[str, list[Any]] = {
        "params": [
            Param(_key(name), str(value)[:_LONGEST_PARAMETER]) for name, value in run.parameters.items()
        ],
        "metrics": [
            Metric(_key(name), number, started, step)
            for name, value in run.metrics.items()
            for step, number in enumerate(value if isinstance(value, Sequence) else [value])
            if math.isfinite(number)
        ],
        "tags": [RunTag(_key(name), value[:_LONGEST_TAG]) for name, value in tags.items()],
    }
    for kind, entries in values.items():
        for first in range(0, len(entries), _BATCH[kind]):
            client.log_batch(identifier, **{kind: entries[first : first + _BATCH[kind]]})


def _key(name: str) -> str:
    """MLflow takes letters, digits and a few signs in a name."""
    return "".join(sign if sign.isalnum() or sign in "_-. /" else "_" for sign in name)[:250]


def _log_files(client: MlflowClient, identifier: str, files: Mapping[str, Path]) -> None:
    for path, file in files.items():
        # MLflow keeps a file under its own name, in a folder that is named.
        folder, _, name = path.rpartition("/")
        if file.name == name:
            client.log_artifact(identifier, str(file), folder or None)
            continue
        with tempfile.TemporaryDirectory(prefix="nbship-") as temporary:
            (Path(temporary) / name).write_bytes(file.read_bytes())
            client.log_artifact(identifier, str(Path(temporary) / name), folder or None)


def known_versions(server: MlflowServer, name: str) -> dict[str, str]:
    """Returns MLflow's numbers of a model's versions, by nbship's, such as `v1.2.0`."""
    return {each.tags[VERSION]: str(each.version) for each in _versions(server, name) if VERSION in each.tags}


def register(
    server: MlflowServer, package: Package, folder: Path, version: str, run: str, stored: str
) -> str:
    """Registers a version of a model, with the pipeline itself in MLflow's scikit-learn form.

    Args:
        server: Where.
        package: The model's description.
        folder: Where the package is.
        version: Such as `v1.2.0`.
        run: MLflow's identifier of the run that made it, which keeps the files.
        stored: The package's address in the model store; empty if there is none.

    Returns:
        MLflow's number of the version.

    Raises:
        NbshipError: The model cannot be loaded here.
    """
    from mlflow.exceptions import MlflowException

    path = f"{_MODEL}/{version}"
    with tempfile.TemporaryDirectory(prefix="nbship-") as temporary:
        _save(package, folder, Path(temporary) / _MODEL)
        server.client.log_artifacts(run, str(Path(temporary) / _MODEL), path)
    try:
        server.client.create_registered_model(package.name, description=package.description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = {VERSION: version, SHA256: package.sha256, "nbship.store": stored}
    made = server.client.create_model_version(
        package.name,
        f"runs:/{run}/{path}",
        run,
        tags={key: value for key, value in tags.items() if value},
        description=package.description,
    )
    return str(made.version)


def set_aliases(server: MlflowServer, name: str, wanted: Mapping[str, str]) -> tuple[str, ...]:
    """Has aliases point to versions, and takes away those of ours that point to none.

    Args:
        server: Where.
        name: The model.
        wanted: By alias, MLflow's number of the version; an empty one takes the alias away.

    Returns:
        The aliases that changed.
    """
    aliases = {k: str(v) for k, v in server.client.get_registered_model(name).aliases.items()}
    changed = tuple(alias for alias, version in wanted.items() if aliases.get(alias, "") != version)
    for alias in changed:
        if wanted[alias]:
            server.client.set_registered_model_alias(name, alias, wanted[alias])
        else:
            server.client.delete_registered_model_alias(name, alias)
    return changed


def _versions(server: MlflowServer, name: str) -> Iterator[Any]:
    token = None
    while True:
        page = server.client.search_model_versions(f"name = '{name}'", max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _save(package: Package, folder: Path, path: Path) -> None:
    """Writes the pipeline as MLflow has models of scikit-learn, with its signature and an example."""
    import mlflow.sklearn
    from mlflow.models import infer_signature

    estimator = load_model(folder)
    records = [golden.record for golden in package.golden]
    example = columns_to_table(
        package.inputs, {c.name: [r.get(c.name) for r in records] for c in package.inputs}
    )
    with warnings.catch_warnings():
        # MLflow warns of pickles and of whole numbers, here of a model that nbship has checked by its hash.
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            estimator,
            str(path),
            signature=infer_signature(example, estimator.predict(example)),
            input_example=example[:1],
            pip_requirements=package.requirements,
            serialization_format="cloudpickle",
        )
