"""What a cluster holds for a model at a moment: its traffic and its servers. Pure; reads nothing.

Goes by what routes requests, and by the servers themselves. The status of an InferenceService alone tells
neither: in Standard mode it repeats the share that was asked for, and stays ready while new servers cannot
start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nbship.cluster.manifest import MODE, Manifest, Mode, predictor_service

# What KServe calls its deployment modes, now and before 0.16.
MODES: dict[str, Mode] = {
    "Standard": "Standard",
    "RawDeployment": "Standard",
    "Knative": "Knative",
    "Serverless": "Knative",
}


@dataclass(frozen=True)
class ServiceState:
    """An InferenceService with what KServe made of it.

    Attributes:
        service: The InferenceService.
        route: Its HTTPRoute; None if there is none, so that nothing splits traffic in Standard mode.
        deployments: The Deployments of its predictors by name, in Standard mode.
    """

    service: Manifest
    route: Manifest | None = None
    deployments: Mapping[str, Manifest] = field(default_factory=dict)


def running_mode(service: Manifest) -> Mode | None:
    """Returns the deployment mode of a service; None if it does not say."""
    said = (service.get("status") or {}).get("deploymentMode")
    return MODES.get(said or (service["metadata"].get("annotations") or {}).get(MODE, ""))


def predictors(service: Manifest) -> list[Manifest]:
    """Returns the predictor of a service, and those of its canaries."""
    spec = service["spec"]
    return [spec["predictor"], *(canary["predictor"] for canary in spec.get("canary") or ())]


def server_name(service: Manifest, predictor: Mapping[str, Any]) -> str:
    """Returns the name of a predictor's Service and Deployment in Standard mode."""
    return predictor_service(service["metadata"]["name"], str(predictor.get("name") or ""))


def is_ready(service: Manifest) -> bool:
    """Returns whether KServe says that a service is ready."""
    return has_condition((service.get("status") or {}).get("conditions"), "Ready")


def has_condition(conditions: Any, kind: str) -> bool:
    """Returns whether a condition is met."""
    return any(c.get("type") == kind and c.get("status") == "True" for c in conditions or ())


def routed_weights(state: ServiceState) -> dict[str, int]:
    """Returns the weights that the HTTPRoute gives Services; empty if it leads to none of the predictors.

    A weight is a share of the sum of all weights of a rule, and 1 if not given (Gateway API, BackendRef).
    """
    rules = ((state.route or {}).get("spec") or {}).get("rules") or ()
    known = {server_name(state.service, each) for each in predictors(state.service)}
    for rule in rules:
        weights: dict[str, int] = {}
        for ref in rule.get("backendRefs") or ():
            weights[ref["name"]] = weights.get(ref["name"], 0) + int(ref.get("weight", 1))
        if known & set(weights):
            return weights
    return {}


def routed_share(state: ServiceState, server: str) -> int:
    """Returns the percentage of requests that the HTTPRoute gives a Service; 0 without a route."""
    weights = routed_weights(state)
    return round(100 * weights.get(server, 0) / (sum(weights.values()) or 1))


def is_routed_alone(state: ServiceState, server: str) -> bool:
    """Returns whether a Service gets all requests, as far as there is an HTTPRoute to tell."""
    if state.route is None or not routed_weights(state):
        return True
    return is_accepted(state.route) and routed_share(state, server) == 100


def is_accepted(route: Manifest) -> bool:
    """Returns whether every gateway has taken the route as it is now."""
    generation = route["metadata"].get("generation", 0)
    parents = (route.get("status") or {}).get("parents") or ()
    conditions = [condition for parent in parents for condition in parent.get("conditions") or ()]
    return all(
        c.get("status") != "False" and c.get("observedGeneration", generation) >= generation
        for c in conditions
    )


def has_started(state: ServiceState, predictor: Manifest) -> bool:
    """Returns whether all servers of a predictor are as it says, and ready (as `kubectl rollout status`)."""
    found = state.deployments.get(server_name(state.service, predictor))
    if found is None:
        return False
    labels = (found["spec"]["template"]["metadata"].get("labels")) or {}
    status, wanted = found.get("status") or {}, found["spec"].get("replicas", 1)
    updated = status.get("updatedReplicas", 0)
    return (
        (predictor.get("labels") or {}).items() <= labels.items()
        and status.get("observedGeneration", 0) >= found["metadata"].get("generation", 0)
        and updated >= wanted
        and status.get("replicas", 0) <= updated <= status.get("availableReplicas", 0)
    )
