"""Says what a project still lacks for each thing that one may want to do next; asks no server.

Each question is put to what the thing itself would ask first, so both give the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nbship.config import Pipeline, load_pipeline
from nbship.errors import NbshipError, UsageError, suggestion
from nbship.graph import read_graph
from nbship.linting import require_modules
from nbship.project import pipeline_names
from nbship.versions import dvc, git, registry, setup, store, upstream
from nbship.versions.clone import own_address
from nbship.workflow import submit

Question = Callable[[Path, Pipeline, Mapping[str, str]], None]
RUN, PUBLISH, SUBMIT, DEPLOY = "run", "publish --push", "submit", "deploy"


@dataclass(frozen=True)
class Readiness:
    """What a pipeline lacks for something.

    Attributes:
        pipeline: Its name.
        purpose: What one wants to do: `run`, `publish --push`, `submit` or `deploy`.
        lacking: What is missing, each with what to do about it; nothing if all is there.
    """

    pipeline: str
    purpose: str
    lacking: tuple[tuple[str, str], ...]


def find_readiness(root: Path, names: Sequence[str], environment: Mapping[str, str]) -> list[Readiness]:
    """Asks what pipelines lack.

    Args:
        root: The project's folder.
        names: The pipelines; all if none.
        environment: Variables, as commands take them.

    Raises:
        UsageError: There is no such pipeline, or a file is not understood.
    """
    known = pipeline_names(root)
    for name in names:
        if name not in known:
            raise UsageError(f"there is no pipeline '{name}'", suggestion(name, known))
    pipelines = [load_pipeline(root, name, environment=environment) for name in names or known]
    return [
        Readiness(pipeline.name, purpose, tuple(_lacking(questions, root, pipeline, environment)))
        for pipeline in pipelines
        for purpose, questions in _QUESTIONS.items()
    ]


def _lacking(
    questions: Sequence[Question], root: Path, pipeline: Pipeline, environment: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    for question in questions:
        try:
            question(root, pipeline, environment)
        except NbshipError as error:
            yield error.message, error.hint


def _has_repositories(root: Path, _pipeline: Pipeline, _environment: Mapping[str, str]) -> None:
    missing = setup.missing(root)
    if missing:
        raise NbshipError(f"no {' and no '.join(missing)} here", "nbship init")


def _has_libraries(root: Path, pipeline: Pipeline, _environment: Mapping[str, str]) -> None:
    graph = read_graph(root, pipeline)
    paths = [step.notebook.path for step in graph.steps.values()]
    require_modules({path.relative_to(root).as_posix(): path for path in paths})


def _has_data(root: Path, pipeline: Pipeline, _environment: Mapping[str, str]) -> None:
    for name, data in pipeline.data.items():
        path = root / data.path
        if path.exists() or data.source:
            continue
        if dvc.read(path) is None:
            raise NbshipError(
                f"data.{name}: {data.path} is not there", f"put it there, and track it: dvc add {data.path}"
            )
        if not dvc.default_remote(root):
            raise NbshipError(f"data.{name}: {data.path} is not here, and DVC has no remote", _SET_REMOTE)


def _publishes(_root: Path, pipeline: Pipeline, _environment: Mapping[str, str]) -> None:
    if pipeline.publish is None:
        raise NbshipError(
            "the pipeline file does not say what to publish", "publish: {target: COLUMN} in its file"
        )


def _has_author(root: Path, _pipeline: Pipeline, _environment: Mapping[str, str]) -> None:
    if git.in_repository(root):
        git.identity(root)


def _has_remotes(root: Path, _pipeline: Pipeline, _environment: Mapping[str, str]) -> None:
    if setup.missing(root):
        return  # told by itself
    if not upstream.default_remote(root):
        raise NbshipError("Git has no remote", "git remote add origin URL")
    if not dvc.default_remote(root):
        raise NbshipError("DVC has no remote", _SET_REMOTE)


def _has_store(_root: Path, pipeline: Pipeline, environment: Mapping[str, str]) -> None:
    if not (environment.get(store.ADDRESS) or (pipeline.publish and pipeline.publish.store)):
        raise NbshipError("no model store is named", "store: s3://bucket/prefix in nbship.yaml")


def _has_server(_root: Path, pipeline: Pipeline, environment: Mapping[str, str]) -> None:
    submit.connect(environment, pipeline.kubeflow)


def _has_address(root: Path, pipeline: Pipeline, _environment: Mapping[str, str]) -> None:
    if not (pipeline.kubeflow.repository or own_address(root)):
        raise NbshipError(
            "there is no repository that a run could check out",
            "git remote add origin URL; or kubeflow.repository in nbship.yaml",
        )


def _has_registry(_root: Path, pipeline: Pipeline, _environment: Mapping[str, str]) -> None:
    if "/" not in pipeline.image:
        raise NbshipError(
            f"image '{pipeline.image}' is in no registry that a cluster could pull it from",
            f"image: registry.example.org/{pipeline.image} in nbship.yaml",
        )


def _is_compiled(root: Path, pipeline: Pipeline, _environment: Mapping[str, str]) -> None:
    submit.check_current(root, pipeline.name)


def _has_version(root: Path, pipeline: Pipeline, _environment: Mapping[str, str]) -> None:
    if git.in_repository(root) and not registry.versions(root, pipeline.name):
        raise NbshipError("no version is published", f"nbship publish {pipeline.name} --push")


def _has_cluster(_root: Path, pipeline: Pipeline, _environment: Mapping[str, str]) -> None:
    from nbship.cluster import services

    for stage in pipeline.deploy.stages.values():
        services.connect(stage)


_SET_REMOTE = "dvc remote add --local --default NAME URL"
_QUESTIONS: Mapping[str, tuple[Question, ...]] = {
    RUN: (_has_repositories, _has_libraries, _has_data),
    PUBLISH: (_publishes, _has_author, _has_remotes),
    SUBMIT: (_has_server, _has_registry, _has_address, _is_compiled),
    DEPLOY: (_has_store, _has_version, _has_cluster),
}
