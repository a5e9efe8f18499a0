"""Which steps run again on Kubeflow when something has changed, by Kubeflow's own rule of its cache."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from nbship.config import load_pipeline
from nbship.graph import read_graph
from nbship.kubeflow.compile import compile_graph
from nbship.kubeflow.sweep import compile_sweep
from nbship.project import pipeline_names
from tests.kubeflow.cache_rule import Kubeflow

PROJECT = Path(__file__).parents[2]
NOTEBOOKS = {"prepare", "train", "evaluate", "evaluate-champion", "compare-recipes"}
# What looks at the repository, judges, publishes and tells is done in every run.
ALWAYS = {"resolve", "gate", "publish", "report"}
CHAMPION = {"path": "models/auto-mpg", "tree": "f00d"}


class Versions(dict):
    """What is resolved: beside what is given, each data file has a version."""

    def __missing__(self, name):
        return {"path": f"{name}.csv", "md5": self["md5"]}


class Repository:
    """What a repository holds, as the steps around the notebooks tell it."""

    def __init__(self) -> None:
        self.commit, self.md5, self.champion, self.outcome = "c1", "d1", {}, "pass"

    def execute(self, task, given):
        if task == "resolve":
            return Versions(commit=self.commit, champion=self.champion, md5=self.md5)
        if task.startswith("fetch"):
            return {"sha256": f"of {given['version']}"}
        return {"Output": self.outcome, "version": "v1.0.0"}


@pytest.fixture(scope="module")
def graph():
    return read_graph(PROJECT, load_pipeline(PROJECT, "auto-mpg"))


@pytest.fixture(scope="module")
def text(graph):
    return compile_graph(graph, graph.data)


@pytest.fixture
def repository():
    return Repository()


@pytest.fixture
def kubeflow(repository):
    return Kubeflow(repository.execute)


def test_an_unchanged_run_executes_no_notebook(text, kubeflow):
    first, second = kubeflow.run(text), kubeflow.run(text)
    assert {*first.executed} == ALWAYS | NOTEBOOKS | {"fetch-table", "fetch-champion"}
    assert {*second.executed} == ALWAYS
    assert {*second.cached} == NOTEBOOKS | {"fetch-table", "fetch-champion"}


@pytest.mark.parametrize("name", [name for name in pipeline_names(PROJECT) if name != "auto-mpg"])
def test_no_pipeline_here_executes_a_notebook_twice(kubeflow, name):
    read = read_graph(PROJECT, load_pipeline(PROJECT, name))
    compiled = compile_graph(read, read.data)
    first = kubeflow.run(compiled)
    assert {*read.steps} < {*first.executed}
    assert {*kubeflow.run(compiled).executed} <= ALWAYS | {"record"}


def test_a_commit_that_changes_nothing_of_the_run_executes_no_notebook(text, kubeflow, repository):
    kubeflow.run(text)
    repository.commit = "c2"
    second = kubeflow.run(text, revision="c2")
    assert {*second.executed} == ALWAYS
    assert second.arguments["gate"]["commit"] == "c2"


def test_new_data_is_fetched_and_all_that_comes_of_it_is_made_again(text, kubeflow, repository):
    kubeflow.run(text)
    repository.md5 = "d2"
    assert {*kubeflow.run(text).executed} == ALWAYS | NOTEBOOKS | {"fetch-table"}


def test_a_new_champion_is_judged_again_and_the_candidate_is_not(text, kubeflow, repository):
    kubeflow.run(text)
    repository.champion = CHAMPION
    second = kubeflow.run(text)
    assert {*second.executed} == ALWAYS | {"fetch-champion", "evaluate-champion", "compare-recipes"}
    assert second.arguments["gate"]["champion_sha256"] == f"of {CHAMPION}"
    assert {*kubeflow.run(text).executed} == ALWAYS


def test_what_was_rejected_from_the_cache_is_rejected_again(text, kubeflow, repository):
    kubeflow.run(text)
    repository.outcome = "reject"
    assert {*kubeflow.run(text).executed} == {"resolve", "gate", "rejected", "report"}


def test_a_stage_is_deployed_to_although_all_before_was_cached(text, kubeflow):
    kubeflow.run(text)
    second = kubeflow.run(text, deploy="staging")
    assert {*second.executed} == ALWAYS | {"deploy"}
    assert second.arguments["deploy"]["version"] == "v1.0.0"


def test_a_parameter_of_a_step_runs_it_and_those_after_it(text, kubeflow):
    kubeflow.run(text)
    assert {*kubeflow.run(text, evaluate_resamples=10).executed} == ALWAYS | {
        "evaluate",
        "evaluate-champion",
    }


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        ("steps.train.env={LEVEL: debug}", {}),
        ("steps.train.image=other:2", {}),
        ("steps.train.timeout=5", {}),
        ("", {"train": {"src/cars.py": b"FACTOR = 2\n"}}),
    ],
    ids=["environment", "image", "timeout", "code of the project"],
)
def test_whatever_may_change_a_step_is_in_its_key(graph, text, kubeflow, setting, code):
    kubeflow.run(text)
    changed = read_graph(PROJECT, load_pipeline(PROJECT, "auto-mpg", [setting] if setting else []))
    executed = kubeflow.run(compile_graph(changed, changed.data, code)).executed
    assert "train" in executed
    assert "prepare" not in executed


def test_all_is_made_again_for_who_wants_it(text, kubeflow):
    first = kubeflow.run(text)
    assert kubeflow.run(text, refresh="artifacts were deleted").executed == first.executed


def test_a_repeated_sweep_runs_new_combinations_alone(graph, kubeflow):
    steps = {name: step for name, step in graph.steps.items() if name in ("prepare", "train")}
    pipeline = graph.pipeline.model_copy(
        update={"steps": {name: graph.pipeline.steps[name] for name in steps}, "gate": None, "publish": None}
    )
    once = replace(graph, pipeline=pipeline, steps=steps, recipes=None)
    first = kubeflow.run(compile_sweep(once, [{"train.folds": 3}, {"train.folds": 4}]))
    second = kubeflow.run(compile_sweep(once, [{"train.folds": 4}, {"train.folds": 5}]))
    assert sorted(first.executed) == ["fetch-table", "prepare", "resolve", "train", "train"]
    assert sorted(second.executed) == ["resolve", "train"]


def test_what_the_guide_says_of_pods(text, kubeflow):
    runs = {"a first run": kubeflow.run(text), "an unchanged one": kubeflow.run(text)}
    guide = (PROJECT / "docs/kubeflow-pipeline.md").read_text()
    told = {
        name: (int(pods), int(containers))
        for name, pods, containers in re.findall(
            r"\| (a first run|an unchanged one) \| .* \| (\d+) \| (\d+) \|", guide
        )
    }
    assert told == {name: (run.pods, len(run.executed)) for name, run in runs.items()}
