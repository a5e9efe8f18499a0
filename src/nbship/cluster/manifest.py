"""The InferenceService of a release, as plain data: what KServe is asked for, and what a live one says.

Pure functions; who sends it, and in which order traffic moves, is the business of `kserve` and `rollout`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import yaml

from nbship.config import Deploy, Stage
from nbship.errors import NbshipError, UsageError

Manifest = dict[str, Any]
Mode = Literal["Standard", "Knative"]
VERSION, REVISION, DATA, RUN = "nbship/version", "nbship/revision", "nbship/data", "nbship/run"
SETTINGS, STABLE = "nbship/settings", "nbship/stable"
MANAGED = "app.kubernetes.io/managed-by"
MODE = "serving.kserve.io/deploymentMode"
VISIBILITY = "networking.kserve.io/visibility"
GROUP, API_VERSION, PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"
_LABEL = 63
# KServe gives servers the label `app: isvc.SERVICE`, which is as long as any label may be.
_PREFIX = "isvc."
_PERCENT = "canaryTrafficPercent"


_DECIMAL = {"m": Decimal("0.001"), "": Decimal(1)} | {
    suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", 1)
}
_BINARY = {"": Decimal(1)} | {
    f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)
}

_SUFFIXES = {letter for suffix in (*_DECIMAL, *_BINARY) for letter in suffix}


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
        environment: Variables of its servers.
        secret: Kubernetes secret with more of them, if it is there; none if empty.
        logger: Where KServe's logger sends what is asked and answered; nowhere if empty.
    """

    name: str
    version: str
    storage: str
    revision: str
    data: str
    run: str
    environment: tuple[tuple[str, str], ...] = ()
    secret: str = ""
    logger: str = ""

    @property
    def labels(self) -> dict[str, str]:
        """The labels that say what is served.

        Each is there and has a value: else KServe would take that of the service, or of the version
        before, for the pods, which start anew when it changes.
        """
        facts = {VERSION: self.version, REVISION: self.revision, DATA: self.data, RUN: self.run}
        return {key: label(value) or "none" for key, value in facts.items()}

    @property
    def canary(self) -> str:
        """The name of its predictor: KServe puts it into the names of the Deployment and the Service."""
        name = re.sub(r"[^a-z0-9]+", "-", self.version.lower()).strip("-")
        service = _PREFIX + predictor_service(self.name, name)
        if len(service) > _LABEL:
            raise UsageError(
                f"its servers would have the label {service}, longer than Kubernetes' {_LABEL} characters",
                f"give the pipeline a name that is shorter by {len(service) - _LABEL}",
            )
        return name


def label(value: str) -> str:
    """Makes a value fit for a Kubernetes label; other characters become dashes, what is too long is cut."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", value)[:_LABEL].strip("_.-")


def quantity(text: str) -> str:
    """Writes a quantity as KServe's webhook stores it: a whole number, with as large a suffix as it can.

    Source: Kubernetes' `resource.Quantity`. So that `1000m` is not taken for a change of `1`.
    """
    number = text.rstrip("".join(_SUFFIXES))
    suffix = text.removeprefix(number)
    units = _DECIMAL if suffix in _DECIMAL else _BINARY
    if suffix not in units:
        return text
    amount = Decimal(number) * units[suffix]
    whole = (name for name, unit in sorted(units.items(), key=lambda item: -item[1]) if amount % unit == 0)
    name = next(whole, None)
    return f"{int(amount / units[name])}{name}" if amount and name is not None else text


def predictor_service(name: str, predictor: str) -> str:
    """Returns the name that KServe gives the Service and the Deployment of a predictor in Standard mode."""
    return f"{name}-{predictor}-predictor" if predictor else f"{name}-predictor"


def predictor(release: Release, settings: Deploy) -> Manifest:
    """Returns the part of a predictor that belongs to a version, whatever share of traffic it has."""
    quantities = {"cpu": quantity(settings.cpu), "memory": quantity(settings.memory)}
    servers: Manifest = {
        "serviceAccountName": settings.service_account,
        "model": {
            "modelFormat": {"name": "sklearn"},
            "protocolVersion": "v1",
            "runtime": settings.runtime,
            "storageUri": release.storage,
            "resources": {"requests": quantities, "limits": dict(quantities)},
        },
    }
    if release.environment:
        servers["model"]["env"] = [{"name": name, "value": value} for name, value in release.environment]
    if release.secret:
        servers["model"]["envFrom"] = [{"secretRef": {"name": release.secret, "optional": True}}]
    if release.logger:
        servers["logger"] = {"mode": "all", "url": release.logger}
    # KServe copies the labels of a service into its pods, unless the predictor has its own: with these, pods
    # that were checked are not replaced when the service's labels say that they serve. By the settings' label
    # it is known whether a Deployment has followed a change.
    own = {VISIBILITY: "cluster-local", SETTINGS: _digest(servers)}
    return {"labels": {**release.labels, **own}, **servers}


def _digest(content: Manifest) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]


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
                **({VISIBILITY: "cluster-local"} if hidden else release.labels),
            },
            "annotations": {MODE: mode, "serving.kserve.io/enable-prometheus-scraping": "true"},
        },
        "spec": {"predictor": {**named, **predictor(release, settings), **scaling(stage)}},
    }


def is_hidden(service: Manifest) -> bool:
    """Returns whether a service of nbship's is a first version, not checked yet: it names no version."""
    return VERSION not in service_labels(service)


def service_labels(service: Manifest) -> dict[str, str]:
    """Returns the labels of a service."""
    return dict(service["metadata"].get("labels") or {})


def service_annotations(service: Manifest) -> dict[str, str]:
    """Returns the annotations of a service."""
    return dict(service["metadata"].get("annotations") or {})


def has_canary(service: Manifest) -> bool:
    """Returns whether a version is on its way in or out."""
    return bool(service["spec"].get("canary")) or service["spec"]["predictor"].get(_PERCENT) is not None


def live_version(service: Manifest | None) -> str:
    """Returns the version that clients reach; empty if there is none, or none that nbship deployed."""
    return "" if service is None else service_labels(service).get(VERSION, "")


def canary_version(service: Manifest) -> str:
    """Returns the version that is on its way; empty if there is none."""
    spec = service["spec"]
    for canary in spec.get("canary") or ():
        return str((canary["predictor"].get("labels") or {}).get(VERSION, canary["predictor"]["name"]))
    return str((spec["predictor"].get("labels") or {}).get(VERSION, "")) if has_canary(service) else ""


def remembered(service: Manifest) -> Manifest:
    """Returns the predictor that served before the canary, which Knative's way of canaries overwrites."""
    return dict(json.loads(service_annotations(service)[STABLE]))


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
        raise NbshipError(f"{where}: not a manifest", "remove the file")
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
