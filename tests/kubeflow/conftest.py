"""Compiled pipelines run by KFP itself on this machine, and the same notebooks by the local engine."""

from datetime import UTC, datetime

import pytest
from kfp import components, local

from nbship.config import load_pipeline
from nbship.graph import read_graph
from nbship.kubeflow.compile import pipeline_parameters
from nbship.local.runner import STANDARD_KERNEL, Options, run_graph
from nbship.record import Environment, RunRecord, new_run_id
from nbship.workflow.compile import compile_pipeline
from tests.repositories import git


@pytest.fixture
def submit(tmp_path, monkeypatch):
    """Runs a project's pipeline with KFP; returns the folder that has one folder per task."""

    def run(root, name, **arguments):
        git(root, "init", "--quiet")
        git(root, "add", "--all")
        git(root, "commit", "--quiet", "--message", "Begin")
        monkeypatch.delenv("NBSHIP_GITLAB_TOKEN", raising=False)
        text = compile_pipeline(root, name).text
        if "repository" in graph_parameters(root, name):
            arguments = {"repository": str(root), **arguments}
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "kfp"))
        components.load_component_from_text(text)(**arguments)
        (folder,) = (tmp_path / "kfp").iterdir()
        return folder

    return run


def graph_parameters(root, name):
    graph = read_graph(root, load_pipeline(root, name))
    return {parameter.name for parameter in pipeline_parameters(graph)}


def run_here(root, name):
    """Runs the same notebooks with the local engine; returns their metrics by step."""
    graph = read_graph(root, load_pipeline(root, name))
    environment = Environment(python="", platform="", nbship="")
    record = RunRecord(id=new_run_id(), pipeline=name, started=datetime.now(UTC), environment=environment)
    run_graph(root, graph, root / "run", record, Options(kernel=STANDARD_KERNEL))
    return {step: done.metrics for step, done in record.steps.items()}
