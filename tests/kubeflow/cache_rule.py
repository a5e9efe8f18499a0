"""Kubeflow Pipelines' driver, for tests: which tasks of a compiled pipeline run, in how many pods.

The rule of its cache is that of `backend/src/v2/cacheutils` and `driver/cache.go` in release 2.17: the image,
the command, the outputs' types, the values of parameters, and the *names* of input artifacts, which every
execution makes anew. Environment variables, secrets and resources are not in it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

Values = Mapping[str, Any]
# What a task puts out, by parameter, once its container runs.
Execute = Callable[[str, Values], Values]
_CONDITION = re.compile(r"inputs\.parameter_values\['([^']+)'\] (==|!=) '([^']*)'")
_CHOSEN = re.compile(r'parseJson\(string_value\)\["([^"]+)"\]')
_PLACEHOLDER = "{{$.pipeline_job_uuid}}"


@dataclass
class Run:
    """What happened in a run.

    Attributes:
        executed: The tasks whose containers ran, in order.
        cached: The tasks whose outputs were reused.
        pods: How many pods there were: a driver for each pipeline, condition and task, and a container for
            each task that ran.
        arguments: The parameters that each task was given.
    """

    executed: list[str] = field(default_factory=list)
    cached: list[str] = field(default_factory=list)
    pods: int = 0
    arguments: dict[str, Values] = field(default_factory=dict)


@dataclass
class Kubeflow:
    """A server with its cache, which belongs to one pipeline and namespace."""

    execute: Execute
    _cache: dict[str, tuple[Values, Values]] = field(default_factory=dict)
    _numbers: Any = field(default_factory=itertools.count)

    def run(self, text: str, **parameters: Any) -> Run:
        """Runs a compiled pipeline."""
        spec = next(iter(yaml.safe_load_all(text)))
        declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        values = {name: parameters.get(name, p.get("defaultValue")) for name, p in declared.items()}
        run = Run()
        job = f"run-{next(self._numbers)}"
        self._pipeline(spec, spec["root"], values, {}, run, job)
        return run

    def _pipeline(
        self, spec: Values, component: Values, parameters: Values, artifacts: Values, run: Run, job: str
    ) -> None:
        run.pods += 1
        tasks, done = component["dag"]["tasks"], dict[str, tuple[Values, Values]]()
        waiting = dict(tasks)
        while waiting:
            name = next(n for n, t in waiting.items() if not waiting.keys() & {*t.get("dependentTasks", ())})
            task = waiting.pop(name)
            given = {
                key: self._parameter(source, parameters, done, job)
                for key, source in task.get("inputs", {}).get("parameters", {}).items()
            }
            read = {
                key: self._artifact(source, artifacts, done)
                for key, source in task.get("inputs", {}).get("artifacts", {}).items()
            }
            if not _triggered(task.get("triggerPolicy", {}).get("condition", ""), given):
                run.pods += 1
                continue
            called = spec["components"][task["componentRef"]["name"]]
            if "parameterIterator" in task:
                run.pods += 1
                for item in _items(task["parameterIterator"]):
                    self._pipeline(spec, called, {**given, **item}, read, run, job)
            elif "dag" in called:
                self._pipeline(spec, called, given, read, run, job)
            else:
                done[name] = self._task(spec, name, task, called, given, read, run)

    def _task(
        self, spec: Values, name: str, task: Values, component: Values, given: Values, read: Values, run: Run
    ) -> tuple[Values, Values]:
        run.pods += 1
        run.arguments[name] = given
        container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        key = _fingerprint(container, component, given, read)
        enabled = task.get("cachingOptions", {}).get("enableCache", False)
        if enabled and key in self._cache:
            run.cached.append(name)
            return self._cache[key]
        run.pods += 1
        run.executed.append(name)
        made = component.get("outputDefinitions", {}).get("artifacts", {})
        out = self.execute(name, given), {key: f"artifact-{next(self._numbers)}" for key in made}
        if enabled:
            self._cache[key] = out
        return out

    @staticmethod
    def _parameter(source: Values, given: Values, done: Mapping[str, tuple[Values, Values]], job: str) -> Any:
        if "runtimeValue" in source:
            constant = source["runtimeValue"]["constant"]
            return job if constant == _PLACEHOLDER else constant
        if "componentInputParameter" in source:
            value = given[source["componentInputParameter"]]
            chosen = _CHOSEN.fullmatch(source.get("parameterExpressionSelector", ""))
            return value[chosen[1]] if chosen else value
        if "taskFinalStatus" in source:
            return {"state": "RUNNING"}
        origin = source["taskOutputParameter"]
        return done[origin["producerTask"]][0][origin["outputParameterKey"]]

    @staticmethod
    def _artifact(source: Values, read: Values, done: Mapping[str, tuple[Values, Values]]) -> str:
        if "componentInputArtifact" in source:
            return str(read[source["componentInputArtifact"]])
        origin = source["taskOutputArtifact"]
        return str(done[origin["producerTask"]][1][origin["outputArtifactKey"]])


def _items(iterator: Values) -> list[Values]:
    return [{iterator["itemInput"]: item} for item in json.loads(iterator["items"]["raw"])]


def _fingerprint(container: Values, component: Values, given: Values, read: Values) -> str:
    outputs = component.get("outputDefinitions", {})
    key = {
        "inputArtifactNames": read,
        "inputParameterValues": given,
        "outputArtifactsSpec": {n: a["artifactType"] for n, a in outputs.get("artifacts", {}).items()},
        "outputParametersSpec": {n: p["parameterType"] for n, p in outputs.get("parameters", {}).items()},
        "containerSpec": {
            "image": container["image"],
            "cmdArgs": [*container.get("command", ()), *container.get("args", ())],
        },
    }
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def _triggered(condition: str, given: Values) -> bool:
    if not condition:
        return True
    found = _CONDITION.fullmatch(condition)
    assert found, condition
    return (given[found[1]] == found[3]) == (found[2] == "==")
