"""The commands about models, and about runs elsewhere, as functions; see `commands` for what they share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbship.config import load_pipeline
from nbship.errors import NbshipError, UsageError, suggestion
from nbship.jupyter.arguments import Settings, as_settings, reported
from nbship.jupyter.progress import showing
from nbship.jupyter.run import Run
from nbship.project import pipeline_names, project_root

if TYPE_CHECKING:
    import pandas as pd

    from nbship.workflow.publish import Published
    from nbship.workflow.submit import Submission


def publish(
    name: str | Run,
    *,
    run: str = "",
    commit: bool = False,
    push: bool = False,
    branch: str = "",
    settings: Settings = (),
) -> Published:
    """Makes the model of a run the champion: writes its package, tracks it with DVC, registers its version.

    Args:
        name: The pipeline, or a run of it.
        run: The run, or the beginning of its id; the newest if empty.
        commit: Make the Git commit of the model's files, and of nothing else.
        push: Commit, and push the model to the DVC remote and the model store, its commit and tag to Git's.
        branch: The branch to push to.
        settings: As `run` takes them.

    Returns:
        What was done, with `next_commands`.

    Raises:
        RejectedError: The gate rejected the model.
        NbshipError: The run is not finished, or Git, DVC or the disk failed. The old champion is whole.

    Example:
        >>> nbship.publish(nbship.run("auto-mpg"), commit=True).version
    """
    from nbship.workflow.publish import publish as publish_run

    root = project_root()
    if isinstance(name, Run):
        run, name = name.id, name.pipeline
    pipeline = load_pipeline(root, name, as_settings(settings), environment=os.environ)
    return publish_run(root, pipeline, run, commit, push, reported, branch)


def models(name: str = "") -> pd.DataFrame:
    """Returns the registered versions of the models, newest first.

    Args:
        name: A model; all of them if empty.

    Returns:
        A row for each version: model, version, champion, stages, created, commit, message, active.

    Raises:
        NbshipError: There is no such model, or no Git repository.

    Example:
        >>> nbship.models("auto-mpg")
    """
    import pandas as pd

    from nbship.workflow.models import list_models

    rows = [
        {
            "model": model.name,
            "version": version.version,
            "champion": version.version == model.champion,
            "stages": ", ".join(version.stages),
            "created": version.created,
            "commit": version.commit,
            "message": version.message,
            "active": version.active,
        }
        for model in list_models(project_root(), name)
        for version in model.versions
    ]
    columns = ["model", "version", "champion", "stages", "created", "commit", "message", "active"]
    return pd.DataFrame(rows, columns=columns)


def load_model(name: str) -> Any:
    """Loads the champion; nothing is unpickled unless it is the model that its description names.

    Args:
        name: The model.

    Returns:
        The fitted estimator, which takes the raw columns. A run's own model is `run["train.model"]`.

    Raises:
        NbshipError: There is no champion, it cannot be had, or it cannot be loaded here.

    Example:
        >>> nbship.load_model("auto-mpg").predict(cars)
    """
    from nbship import package
    from nbship.versions import registry

    root = project_root()
    if registry.champion(root, name, reported) is None:
        known = pipeline_names(root)
        hint = f"publish one: nbship publish {name}" if name in known else suggestion(name, known)
        raise UsageError(f"{name} has no champion yet", hint)
    return package.load_model(registry.model_folder(root, name))


def submit(
    name: str,
    settings: Settings = (),
    *,
    revision: str = "",
    override_files: Sequence[str | Path] = (),
    experiment: str = "",
    image: str = "",
    wait: bool = False,
) -> Submission:
    """Runs a compiled pipeline on Kubeflow, as a version named by the Git revision.

    Args:
        name: The pipeline.
        settings: Value by `step.parameter`; or texts as `--set` takes them.
        revision: Commit, tag or branch to run; what is here if empty.
        override_files: YAML files with other values for steps' parameters.
        experiment: Where runs are kept; named by the branch if empty.
        image: Run in this image instead of the project's.
        wait: Show its steps until it ends.

    Returns:
        The run and its link; with `wait`, as it was at its end.

    Raises:
        UsageError: The request is wrong; nothing was sent.
        NbshipError: The server refuses or does not answer; or, with `wait`, the run failed.

    Example:
        >>> nbship.submit("auto-mpg", {"train.C": 3}, wait=True).link
    """
    from nbship.workflow.submit import SubmitRequest, connect_for
    from nbship.workflow.submit import submit as start
    from nbship.workflow.waiting import wait as wait_for

    root = project_root()
    files = [Path(file) for file in override_files]
    request = SubmitRequest(name, revision, as_settings(settings), experiment, files, os.environ, image)
    connection = connect_for(root, name, os.environ, files)
    submission = start(connection, root, request, os.environ)
    if not wait:
        return submission
    with showing(f"{name} on Kubeflow", len(submission.steps)) as on_event:
        ended = replace(submission, run=wait_for(connection, submission, on_event))
    if ended.run.state != "SUCCEEDED":
        raise NbshipError(f"the run ended as {ended.run.state.lower()}", f"see why: {ended.link}")
    return ended
