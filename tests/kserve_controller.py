"""What controllers make of InferenceServices, in memory: KServe's, Kubernetes', Knative's, a gateway's.

Each behaviour is that of the real one, as its source or a run of it shows; the comments say which. Time
is the caller's, so that tests need not wait. No HTTP: that is `kubernetes_server`.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]
Key = tuple[str, str]
VISIBILITY = "networking.kserve.io/visibility"
VERSION = "nbship/version"
NODE_CPU = 64.0


@dataclass
class Pod:
    """A server: what it was made of, and since when."""

    name: str
    template: Record
    since: float


@dataclass
class Deployment:
    """A Deployment of Kubernetes', or a revision of Knative's: servers of one template."""

    template: Record
    replicas: int
    generation: int = 1
    pods: list[Pod] = field(default_factory=list)


@dataclass
class Controllers:
    """The state of a cluster, and how fast it follows.

    Attributes:
        services: InferenceServices by namespace and name.
        deployments: By namespace and name; Knative's revisions too.
        routes: HTTPRoutes by namespace and name.
        stuck: Last lines of servers that crash, by storage URI.
        splits: Whether KServe gives HTTPRoutes weights: KServe 0.20.0 does not, later ones do (kserve#5912).
        gateway_api: `enableGatewayApi`; without it, an Ingress leads to the stable predictor.
        pod_start: Time from a pod's creation until it is ready.
        route_lag: Time until a gateway does what its route says.
    """

    services: dict[Key, Record] = field(default_factory=dict)
    deployments: dict[Key, Deployment] = field(default_factory=dict)
    routes: dict[Key, Record] = field(default_factory=dict)
    stuck: dict[str, str] = field(default_factory=dict)
    splits: bool = True
    gateway_api: bool = True
    pod_start: float = 2
    route_lag: float = 1
    now: float = 0
    # When each gateway was told what: (time, {deployment: weight}).
    told: dict[Key, list[tuple[float, dict[str, int]]]] = field(default_factory=dict)
    numbers: int = 0

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    def reconcile(self, key: Key) -> None:
        """Does for a service what all controllers do by now."""
        service = self.services[key]
        follow = self._standard if mode(service) == "Standard" else self._knative
        status = follow(key, service)
        domain = "svc.cluster.local" if is_local(service) else "example.org"
        status["url"] = f"http://{key[1]}-{key[0]}.{domain}"
        # A change of the status is a change of the object: a patch that names the version before is refused.
        if json.dumps(status, sort_keys=True) != json.dumps(service["status"], sort_keys=True):
            service["status"] = status
            service["metadata"]["resourceVersion"] = str(self.number())

    def remove(self, key: Key) -> None:
        """Deletes a service, and what it owns."""
        del self.services[key]
        self.routes.pop(key, None)
        self.told.pop(key, None)
        for each in [each for each in self.deployments if self._owner(each) == key]:
            del self.deployments[each]

    def _standard(self, key: Key, service: Record) -> Record:
        spec = service["spec"]
        # Canaries first; their fields are laid over the stable predictor's (reconcileCanaryDeployments).
        canaries = [(c, overlaid(spec["predictor"], c["predictor"])) for c in spec.get("canary") or ()]
        statuses, taken = [], 0
        for canary, predictor in canaries:
            replicas = predictor.get("minReplicas") or 1
            found = self._apply(
                key, deployment_name(key[1], predictor), template(service, predictor), replicas
            )
            ready = self._is_available(found)
            taken += replicas if ready else 0
            # The percentage is that of the spec, whatever the route says; there is no modelStatus.
            statuses.append(
                {"name": predictor["name"], "trafficPercent": canary["trafficPercent"], "ready": ready}
            )
        # The stable predictor gives up servers only for canaries that are ready (kserve#5984).
        stable = deployment_name(key[1], spec["predictor"])
        replicas = max(1, (spec["predictor"].get("minReplicas") or 1) - taken)
        available = self._is_available(
            self._apply(key, stable, template(service, spec["predictor"]), replicas)
        )
        # Deployments that the spec does not name any more go at once, whatever a gateway still sends them.
        names = {stable, *(deployment_name(key[1], predictor) for _, predictor in canaries)}
        for each in [each for each in self.deployments if self._owner(each) == key and each[1] not in names]:
            del self.deployments[each]
        if is_local(service):
            self.routes.pop(key, None)
            self.told.pop(key, None)
        # While a predictor is not ready the route stays as it was (createRawTopLevelHTTPRoute).
        elif available and all(status["ready"] for status in statuses):
            weights = {deployment_name(key[1], p): c["trafficPercent"] for c, p in canaries}
            split = self.splits and self.gateway_api
            self._route(key, {stable: 100 - sum(weights.values()), **weights} if split else {stable: 1})
        ingress = is_local(service) or key in self.told
        conditions = [condition("PredictorReady", available), condition("IngressReady", ingress)]
        conditions.append(condition("Ready", available and ingress))
        return {"conditions": conditions, "deploymentMode": "Standard", "canaryStatuses": statuses}

    def _route(self, key: Key, weights: dict[str, int]) -> None:
        told = self.told.setdefault(key, [])
        if told and told[-1][1] == weights:
            return
        told.append((self.now, weights))
        if not self.gateway_api:
            return
        generation = self.routes[key]["metadata"]["generation"] + 1 if key in self.routes else 1
        refs = [{"kind": "Service", "name": name, "port": 80, "weight": w} for name, w in weights.items()]
        accepted = {**condition("Accepted", True), "observedGeneration": generation}
        self.routes[key] = {
            "metadata": {"name": key[1], "namespace": key[0], "generation": generation},
            "spec": {"hostnames": [f"{key[1]}-{key[0]}.example.org"], "rules": [{"backendRefs": refs}]},
            # A gateway's controller accepts a route at once; its proxies follow later.
            "status": {"parents": [{"conditions": [accepted]}]},
        }

    def _apply(self, key: Key, name: str, wanted: Record, replicas: int) -> Deployment:
        """A rolling update: old pods go when the new ones are ready (maxUnavailable 25 %, rounded down)."""
        found = self.deployments.setdefault((key[0], name), Deployment(wanted, replicas))
        if (found.template, found.replicas) != (wanted, replicas):
            found.template, found.replicas = copy.deepcopy(wanted), replicas
            found.generation += 1
        new = [pod for pod in found.pods if pod.template == found.template][:replicas]
        old = [pod for pod in found.pods if pod.template != found.template]
        while len(new) < replicas:
            new.append(Pod(f"{name}-{self.number():05}", copy.deepcopy(wanted), self.now))
        found.pods = new if all(map(self.is_ready, new)) else old + new
        return found

    def _is_available(self, deployment: Deployment) -> bool:
        """The condition Available, which KServe goes by: old pods count as well (PropagateRawStatus)."""
        return sum(map(self.is_ready, deployment.pods)) >= deployment.replicas

    def is_ready(self, pod: Pod) -> bool:
        return self.now - pod.since >= self.pod_start and not self.trouble(pod)

    def trouble(self, pod: Pod) -> str:
        """Why a pod will never be ready: Unschedulable, or its last lines."""
        model = pod.template["model"]
        cpu = model["resources"]["requests"]["cpu"]
        if not cpu.endswith("m") and float(cpu) > NODE_CPU:
            return "Unschedulable"
        return self.stuck.get(model["storageUri"], "")

    def ready_pod(self, namespace: str, name: str) -> Pod | None:
        """A server that answers for a Service."""
        found = self.deployments.get((namespace, name))
        return next(filter(self.is_ready, reversed(found.pods)), None) if found else None

    def _owner(self, deployment: Key) -> Key:
        labels = self.deployments[deployment].template["labels"]
        return deployment[0], labels["serving.kserve.io/inferenceservice"]

    def _knative(self, key: Key, service: Record) -> Record:
        predictor, revisions = service["spec"]["predictor"], service["_revisions"]
        wanted = template(service, predictor)
        # Any change of the template makes a revision, and labels and annotations are part of it.
        if not revisions or self.deployments[key[0], revisions[-1]].template != wanted:
            revisions.append(f"{key[1]}-predictor-{len(revisions) + 1:05}")
        replicas = max(1, predictor.get("minReplicas") or 0)
        for name in revisions:
            found = self.deployments.get((key[0], name))
            self._apply(key, name, found.template if found else wanted, found.replicas if found else replicas)
        ready = next(filter(lambda name: self.ready_pod(key[0], name), reversed(revisions)), "")
        newest_is_ready = ready == revisions[-1]
        percent = predictor.get("canaryTrafficPercent")
        if percent is None and newest_is_ready:
            service["_rolled_out"] = ready
        rolled_out = service["_rolled_out"]
        share = 100 if percent is None or rolled_out in ("", ready) else percent
        weights = {ready: share} if ready else {}
        if share < 100:
            weights[rolled_out] = 100 - share
        if ready and not is_local(service):
            told = self.told.setdefault(key, [])
            if not told or told[-1][1] != weights:
                told.append((self.now, weights))
        elif is_local(service):
            self.told.pop(key, None)
        component = {
            "latestCreatedRevision": revisions[-1],
            "latestReadyRevision": ready,
            "latestRolledoutRevision": rolled_out,
            "traffic": [{"revisionName": name, "percent": weight} for name, weight in weights.items()],
        }
        conditions = [condition("PredictorReady", newest_is_ready), condition("Ready", newest_is_ready)]
        status = {
            "conditions": conditions,
            "components": {"predictor": component},
            "deploymentMode": "Knative",
        }
        trouble = self.trouble(self.deployments[key[0], revisions[-1]].pods[-1])
        # Of pods that no node has room for, nothing is said here (PropagateModelStatus).
        if trouble not in ("", "Unschedulable"):
            info = {"message": trouble, "modelRevisionName": revisions[-1]}
            status["modelStatus"] = {"transitionStatus": "BlockedByFailedLoad", "lastFailureInfo": info}
        return status

    def weights(self, key: Key) -> dict[str, int]:
        """What a gateway does at this moment: what its route said some time ago."""
        told = self.told.get(key, [])
        followed = [weights for since, weights in told if self.now - since >= self.route_lag]
        return followed[-1] if followed else (told[0][1] if told else {})

    def split(self, key: Key) -> dict[str, int]:
        """The shares of traffic from outside, by version; what leads to no server is of version ''."""
        shares: dict[str, int] = {}
        weights = self.weights(key)
        for name, weight in weights.items():
            pod = self.ready_pod(key[0], name)
            version = pod.template["labels"][VERSION] if pod else ""
            shares[version] = shares.get(version, 0) + 100 * weight // sum(weights.values())
        return {version: share for version, share in shares.items() if share}


def mode(service: Record) -> str:
    return str(service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"])


def is_local(service: Record) -> bool:
    return (service["metadata"].get("labels") or {}).get(VISIBILITY) == "cluster-local"


def condition(kind: str, met: bool) -> Record:
    return {"type": kind, "status": "True" if met else "False"}


def deployment_name(service: str, predictor: Record) -> str:
    return f"{service}-{predictor['name']}-predictor" if predictor.get("name") else f"{service}-predictor"


def template(service: Record, predictor: Record) -> Record:
    """A pod's template: labels and annotations of the service are copied, the predictor's go before them."""
    metadata = service["metadata"]
    owner = {"serving.kserve.io/inferenceservice": metadata["name"]}
    return {
        "labels": {**(metadata.get("labels") or {}), **(predictor.get("labels") or {}), **owner},
        "annotations": {**(metadata.get("annotations") or {}), **(predictor.get("annotations") or {})},
        "serviceAccountName": predictor.get("serviceAccountName"),
        "model": predictor["model"],
    }


def overlaid(stable: Record, canary: Record) -> Record:
    """Lays a canary's fields over the stable predictor's; empty ones do not count (mergo.WithOverride)."""
    result = dict(stable)
    for key, value in canary.items():
        if isinstance(value, dict):
            result[key] = overlaid(stable.get(key) or {}, value)
        elif value not in ("", None, 0, []):
            result[key] = value
    return result


def quantity(text: str) -> str:
    """The canonical form of a quantity that tests use: no fraction, the largest suffix (apimachinery)."""
    if text.endswith("m"):
        thousandths = int(text[:-1])
        return str(thousandths // 1000) if thousandths % 1000 == 0 else text
    if text.endswith("Mi") and int(text[:-2]) % 1024 == 0:
        return f"{int(text[:-2]) // 1024}Gi"
    if text.replace(".", "").isdigit() and float(text) != int(float(text)):
        return f"{round(float(text) * 1000)}m"
    return text


def merge(base: Record, patch: Record) -> Record:
    """Applies a JSON merge patch (RFC 7386): None removes a key, lists are replaced."""
    result = dict(base)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            below = result.get(key)
            result[key] = merge(below if isinstance(below, dict) else {}, value)
        else:
            result[key] = value
    return result
