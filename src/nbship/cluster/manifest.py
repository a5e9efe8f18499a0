"""The InferenceService of a release, as plain data: what KServe is asked for, and what a live one says.

Pure functions; who sends it, and in which order traffic moves, is the business of `kserve` and `rollout`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from nbship.config import Deploy, Stage
from nbship.errors import NbshipError, UsageError

Manifest = dict[str, Any]
Mode = Literal["Standard", "Knative"]
VERSION, REVISION, DATA, RUN = "nbship/version", "nbship/revision", "nbship/data", "nbship/run"
STABLE, UNCHECKED = "nbship/stable", "nbship/unchecked"
MANAGED = "app.kubernetes.io/managed-by"
MODE = "serving.kserve.io/deploymentMode"
VISIBILITY = "networking.kserve.io/visibility"
GROUP, API_VERSION, PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"
STOCK_RUNTIME = "kserve-sklearnserver"
_LABEL = 63


@dataclass(frozen=True)
class Release:
    """A version of a model that is to be served.

    Attributes:
        name: The model, and its InferenceService.
        version: Such as `v1.2.0`.
        storage: Address of the version in the model store, as the cluster sees it.
        revision: Git commit that it was trained from.
        data: Hash of the data that it was trained on.
        run: The run that made it.
    """

    name: str
    version: str
    storage: str
    revision: str
    data: str
    run: str

    @property
    def labels(self) -> dict[str, str]:
        """The labels that say what is served; empty values are left out."""
        facts = {VERSION: self.version, REVISION: self.revision, DATA: self.data, RUN: self.run}
        return {key: label(value) for key, value in facts.items() if value}

    @property
    def canary(self) -> str:
        """The name of its predictor: KServe puts it into the names of the Deployment and the Service."""
        name = re.sub(r"[^a-z0-9]+", "-", self.version.lower()).strip("-")
        service = canary_service(self.name, name)
        if len(service) > _LABEL:
            raise UsageError(
                f"the service would be called {service}, longer than Kubernetes' {_LABEL} characters",
                "give the pipeline a shorter name",
            )
        return name


def label(value: str) -> str:
    """Makes a value fit for a Kubernetes label; other characters become dashes, what is too long is cut."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", value)[:_LABEL].strip("_.-")


def canary_service(name: str, predictor: str) -> str:
    """Returns the name that KServe gives the Service of a named predictor in Standard mode."""
    return f"{name}-{predictor}-predictor" if predictor else f"{name}-predictor"


def predictor(release: Release, settings: Deploy) -> Manifest:
    """Returns the part of a predictor that belongs to a version, whatever share of traffic it has."""
    quantities = {"cpu": settings.cpu, "memory": settings.memory}
    return {
        "labels": release.labels,
        "serviceAccountName": settings.service_account,
        "model": {
            "modelFormat": {"name": "sklearn"},
            "protocolVersion": "v1",
            "runtime": settings.runtime,
            "storageUri": release.storage,
            "resources": {"requests": quantities, "limits": dict(quantities)},
        },
    }


def scaling(stage: Stage) -> Manifest:
    """Returns the part of a predictor that belongs to the stage."""
    return {"minReplicas": stage.min_replicas, "maxReplicas": stage.max_replicas}


def inference_service(
    release: Release, settings: Deploy, stage: Stage, mode: Mode, hidden: bool = False
) -> Manifest:
    """Returns the InferenceService with which a release has all the traffic.

    Args:
        release: What is served.
        settings: The pipeline's deployment.
        stage: Where.
        mode: KServe's deployment mode.
        hidden: Reachable only in the cluster: the first version, until it is checked.
    """
    named = {"name": release.canary} if mode == "Standard" else {}
    return {
        "apiVersion": f"{GROUP}/{API_VERSION}",
        "kind": "InferenceService",
        "metadata": {
            "name": release.name,
            "namespace": stage.namespace,
            "labels": {
                "app.kubernetes.io/name": release.name,
                MANAGED: "nbship",
                **release.labels,
                **({VISIBILITY: "cluster-local"} if hidden else {}),
            },
            "annotations": {
                MODE: mode,
                "serving.kserve.io/enable-prometheus-scraping": "true",
                **({UNCHECKED: "true"} if hidden else {}),
            },
        },
        "spec": {"predictor": {**named, **predictor(release, settings), **scaling(stage)}},
    }


def is_hidden(service: Manifest) -> bool:
    """Returns whether a service is a first version that is not checked yet."""
    return UNCHECKED in service_annotations(service)


def service_labels(service: Manifest) -> dict[str, str]:
    """Returns the labels of a service."""
    return dict(service["metadata"].get("labels") or {})


def service_annotations(service: Manifest) -> dict[str, str]:
    """Returns the annotations of a service."""
    return dict(service["metadata"].get("annotations") or {})


def has_canary(service: Manifest) -> bool:
    """Returns whether a version is on its way in or out."""
    return bool(service["spec"].get("canary")) or STABLE in service_annotations(service)


def live_version(service: Manifest | None) -> str:
    """Returns the version that clients reach; empty if there is none, or none that nbship deployed."""
    return "" if service is None or is_hidden(service) else service_labels(service).get(VERSION, "")


def canary_version(service: Manifest) -> str:
    """Returns the version that is on its way; empty if there is none."""
    spec = service["spec"]
    for canary in spec.get("canary") or ():
        return str((canary["predictor"].get("labels") or {}).get(VERSION, canary["predictor"]["name"]))
    if STABLE in service_annotations(service):
        return str((spec["predictor"].get("labels") or {}).get(VERSION, ""))
    return ""


def canary_traffic(service: Manifest) -> int:
    """Returns the share of traffic, in percent, that the version on its way is to get."""
    spec = service["spec"]
    for canary in spec.get("canary") or ():
        return int(canary.get("trafficPercent") or 0)
    return int(spec["predictor"].get("canaryTrafficPercent") or 0)


def remembered(service: Manifest) -> Manifest:
    """Returns the predictor that served before the canary, which Knative's way of canaries overwrites."""
    return dict(json.loads(service_annotations(service)[STABLE]))


def merge(base: Manifest, patch: Mapping[str, Any]) -> Manifest:
    """Applies a JSON merge patch (RFC 7386): None removes a key, lists are replaced."""
    result = dict(base)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            below = result.get(key)
            result[key] = merge(below if isinstance(below, dict) else {}, value)
        else:
            result[key] = value
    return result


def is_part(part: Any, whole: Any) -> bool:
    """Returns whether all that a manifest asks for is there; a server adds keys of its own."""
    if isinstance(part, Mapping):
        return isinstance(whole, Mapping) and all(is_part(v, whole.get(k)) for k, v in part.items())
    return bool(part == whole)


def to_yaml(manifest: Manifest) -> str:
    """Writes a manifest as a person would."""
    return yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True)


def from_yaml(text: str, where: str) -> Manifest:
    """Reads a manifest.

    Raises:
        NbshipError: It is none.
    """
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        found = None
    if not isinstance(found, dict) or not {"metadata", "spec"} <= set(found):
        raise NbshipError(f"{where}: no manifest", "remove the file")
    return found


def difference(running: Manifest | None, wanted: Manifest) -> str:
    """Returns what would change, as a unified diff; empty if nothing would."""
    before = "" if running is None else to_yaml(_in_order_of(wanted, running))
    lines = difflib.unified_diff(
        before.splitlines(), to_yaml(wanted).splitlines(), "running", "wanted", lineterm=""
    )
    return "\n".join(lines)


def _in_order_of(wanted: Any, running: Any) -> Any:
    """Keeps of what runs the keys that are asked for, in their order: a server adds its own."""
    if not isinstance(wanted, dict) or not isinstance(running, dict):
        return running
    return {key: _in_order_of(value, running[key]) for key, value in wanted.items() if key in running}
