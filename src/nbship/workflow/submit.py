"""Starts a compiled pipeline on Kubeflow, and lists what ran there.

Runs what Git has, or what is compiled here and current; what it needs of the server is in `kubeflow.client`,
and who waits for a run calls `waiting`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from nbship import config, files
from nbship.ci import current_job
from nbship.errors import NbshipError, UsageError, suggestion
from nbship.graph import Graph, read_graph
from nbship.kubeflow.credentials import login
from nbship.kubeflow.plan import is_needed
from nbship.kubeflow.server import read_server
from nbship.project import pipeline_names
from nbship.record import new_run_id
from nbship.versions import git, snapshot
from nbship.versions.clone import is_commit, own_address
from nbship.workflow.compile import COMPILED, compile_pipeline
from nbship.workflow.image import image_reference, with_image
from nbship.workflow.parameters import SERVER_KEYS, overridden_parameters, run_parameters

if TYPE_CHECKING:
    from nbship.kubeflow.api import Connection
    from nbship.kubeflow.records import PipelineVersion, RemoteRun


@dataclass(frozen=True)
class SubmitRequest:
    """What a person asks to be run.

    Attributes:
        pipeline: Its name.
        revision: A branch, a tag or a commit; what is in the project's folder if empty.
        settings: `step.parameter=value`.
        experiment: Where the run is kept; named by the branch if empty.
        override_files: YAML files with other values for steps' parameters.
        variables: The environment; `NBSHIP_STEP__PARAMETER` goes over these files.
        image: Stands in for the project's image, which has its tag else. With a digest, what runs is what
            was built, whoever may write to the registry.
        key: What no other request has: repeated with the same one, the run of before is found again.
    """

    pipeline: str
    revision: str = ""
    settings: Sequence[str] = ()
    experiment: str = ""
    override_files: Sequence[Path] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    key: str = ""


@dataclass(frozen=True)
class Prepared:
    """A compiled pipeline that may be submitted.

    Attributes:
        graph: The pipeline.
        compiled: Its YAML file.
        version: The name of its version.
        parameters: What is set, by the names in Kubeflow.
        checked_out: The parameter `revision` as the commit of this version, where Git knows one.
        image: The image of all steps that have none of their own.
    """

    graph: Graph
    compiled: Path
    version: str
    parameters: Mapping[str, Any]
    checked_out: Mapping[str, str]
    image: str


@dataclass(frozen=True)
class Submission:
    """A run that was started.

    Attributes:
        run: The run, as it was when it was started.
        version: What it runs.
        experiment: The name of its experiment.
        link: Its page.
        steps: The pipeline's steps, in order.
        image: The image of all steps that have none of their own.
        tasks: All that runs in a container there: the steps, and what is around them.
        commit: What the run checks out; empty if it is not known.
    """

    run: RemoteRun
    version: PipelineVersion
    experiment: str
    link: str
    steps: tuple[str, ...]
    image: str
    tasks: tuple[str, ...]
    commit: str


def connect(environment: Mapping[str, str], settings: config.Kubeflow | None = None) -> Connection:
    """Returns the server that the environment or a pipeline file names; nothing is sent yet.

    Args:
        environment: `NBSHIP_KUBEFLOW_HOST` and the others; they go over the settings.
        settings: What a pipeline file says.

    Raises:
        UsageError: A setting is missing or not understood.
    """
    from nbship.kubeflow.api import Connection

    written = settings.model_dump(include=set(SERVER_KEYS), exclude_none=True) if settings else {}
    server = read_server(environment, written)
    return Connection(server, login(server, environment))


def connect_for(
    root: Path, pipeline: str, environment: Mapping[str, str], override_files: Sequence[Path] = ()
) -> Connection:
    """Returns the server of a pipeline; without its name, the one that the environment alone names.

    Raises:
        UsageError: There is no such pipeline, or a setting is missing or not understood.
    """
    if not pipeline:
        return connect(environment)
    settings = config.load_pipeline(root, pipeline, (), override_files, environment).kubeflow
    if settings.ca:
        settings = settings.model_copy(update={"ca": str(root / settings.ca)})
    return connect(environment, settings)


def submit(
    connection: Connection, root: Path, request: SubmitRequest, environment: Mapping[str, str]
) -> Submission:
    """Uploads a pipeline's version and starts a run of it.

    Args:
        connection: The server.
        root: The project's folder.
        request: What to run.
        environment: In a CI job, says which branch this is.

    Raises:
        UsageError: The request is wrong; nothing was sent.
        NbshipError: The compiled pipeline is not current, or the server refuses or does not answer.
    """
    from nbship.kubeflow.client import ensure_experiment, ensure_version, find_run, start_run
    from nbship.kubeflow.compiled import read_documents, task_names
    from nbship.kubeflow.resources import version_name

    with prepared(root, request) as pipeline:
        experiment = request.experiment or default_experiment(root, environment)
        experiment_id = ensure_experiment(connection, experiment)
        applied = version_name(request.pipeline, pipeline.compiled.read_text(encoding="utf-8"))
        version = ensure_version(connection, request.pipeline, pipeline.version, pipeline.compiled, applied)
        name = f"{request.pipeline} {pipeline.version[:7]} {request.key or new_run_id()}"
        # What is run here is what is checked out there.
        parameters = {**pipeline.checked_out, **pipeline.parameters}
        account = pipeline.graph.pipeline.kubeflow.service_account or ""
        before = find_run(connection, name, experiment_id) if request.key else None
        run = before or start_run(connection, name, experiment_id, version, parameters, account)
        link, steps = connection.server.run_link(run.id), tuple(pipeline.graph.steps)
        tasks = task_names(read_documents(pipeline.compiled)[0])
        commit = parameters.get("revision", "")
        commit = commit if is_commit(commit) else ""
        return Submission(run, version, experiment, link, steps, pipeline.image, tasks, commit)


def remote_runs(connection: Connection, root: Path, pipeline: str, limit: int) -> list[RemoteRun]:
    """Returns the newest runs on the server, of one pipeline or of all."""
    from nbship.kubeflow.client import list_runs

    known = pipeline_names(root)
    if pipeline and pipeline not in known:
        raise UsageError(f"there is no pipeline '{pipeline}'", suggestion(pipeline, known))
    return list(islice(list_runs(connection, pipeline), limit))


@contextmanager
def prepared(root: Path, request: SubmitRequest) -> Iterator[Prepared]:
    """Yields what a request means, checked; the files of another revision are there until the end.

    Raises:
        UsageError: There is no such pipeline, revision or parameter, or a value is not of its type.
        NbshipError: The compiled pipeline is missing or not current.
    """
    with TemporaryDirectory(prefix="nbship-") as folder:
        if not request.revision:
            check_current(root, request.pipeline)
            source, version = root, _version(root, request.pipeline)
        else:
            git.require_repository(root)
            source, version = Path(folder), snapshot.resolve(root, request.revision)
            snapshot.export(root, version, source)
        found = _prepare(root, source, request, version)
        yield _with_image(found, source, request.image, Path(folder))


def default_experiment(root: Path, environment: Mapping[str, str]) -> str:
    """Returns the branch's name: Git's, or in a CI job that has checked out a commit, the forge's.

    Raises:
        UsageError: There is no branch.
    """
    name = git.in_repository(root) and git.branch(root)
    name = name or current_job(environment).head
    if not name:
        raise UsageError("no branch is checked out to name the experiment", "name it: --experiment NAME")
    return name


def check_current(root: Path, pipeline: str) -> None:
    """Checks that the compiled pipeline is what its sources say.

    Raises:
        NbshipError: It is not.
    """
    generated = compile_pipeline(root, pipeline)
    if generated.stale:
        shown = generated.path.relative_to(root)
        raise NbshipError(
            f"{shown} is not current: {generated.stale[0]}",
            f"renew it: {generated.command}",
            "\n".join(generated.stale[1:]),
        )


def _prepare(here: Path, root: Path, request: SubmitRequest, version: str) -> Prepared:
    """Reads a request; `root` is the project as it is to run, and `here` the one with the repository."""
    graph = read_graph(root, config.load_pipeline(root, request.pipeline))
    compiled = root / COMPILED / f"{request.pipeline}.yaml"
    if not compiled.is_file():
        raise NbshipError(
            f"{request.revision} has no {COMPILED / compiled.name}",
            f"commit it there first: nbship compile {request.pipeline}",
        )
    parameters = {
        **_repository(here, graph),
        **overridden_parameters(root, graph, request.override_files, request.variables),
        **run_parameters(graph, request.settings),
    }
    if is_needed(graph) and not parameters.get("repository", graph.pipeline.kubeflow.repository):
        raise UsageError(
            "there is no repository that a run could check out",
            f"name it in pipelines/{graph.name}.yaml: kubeflow.repository; or git remote add origin URL",
        )
    commit = version.partition("-")[0]
    checked_out = {"revision": commit} if is_needed(graph) and is_commit(commit) else {}
    return Prepared(graph, compiled, version, parameters, checked_out, graph.pipeline.image)


def _with_image(found: Prepared, root: Path, asked: str, folder: Path) -> Prepared:
    """Puts the project's image into the compiled file: the one that is asked for, else with its tag."""
    image = asked or image_reference(root, found.image)
    if image == found.image:
        return found
    changed, count = with_image(found.compiled.read_text(encoding="utf-8"), found.image, image)
    if asked and not count:
        raise NbshipError(
            f"{COMPILED / found.compiled.name} does not name the project's image",
            f"compile it and commit it: nbship compile {found.graph.name}",
        )
    target = folder / f"image-{found.compiled.name}"
    target.write_text(changed, encoding="utf-8")
    # Another image is another version, though the file that is committed stays.
    suffix = hashlib.sha256(image.encode()).hexdigest()[:8] if asked else image.rpartition(":")[2]
    return replace(found, compiled=target, version=f"{found.version}-{suffix}", image=image)


def _repository(root: Path, graph: Graph) -> dict[str, str]:
    """The parameter `repository`, where the pipeline file leaves it to Git."""
    address = "" if graph.pipeline.kubeflow.repository else own_address(root)
    return {"repository": address} if address and is_needed(graph) else {}


def _version(root: Path, pipeline: str) -> str:
    """The commit; with a hash of the file where that is not in the commit as it is here."""
    compiled = root / COMPILED / f"{pipeline}.yaml"
    revision = git.revision(root)
    commit = revision.commit if revision else ""
    if commit and git.committed(root, [compiled]):
        return commit
    return "-".join(filter(None, [commit, files.content_hash(compiled)[:8]]))
