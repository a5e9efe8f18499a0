"""How a canary comes, gets traffic, and is promoted or leaves, in either of KServe's deployment modes.

In Standard mode a canary is a named predictor in `spec.canary`, with a Deployment of its own. When it is
promoted, the two change places, and the predictor from before leaves once no gateway sends it requests. In
Knative mode a canary is the newest revision of the one predictor, with `canaryTrafficPercent`; the predictor
that served before is remembered in an annotation, since the canary's takes its place. All functions are pure:
a service, or a state of the cluster, goes in, and a JSON merge patch or an answer comes out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nbship.cluster.backends import Backend, revision_backend
from nbship.cluster.manifest import (
    DATA,
    REVISION,
    RUN,
    STABLE,
    VERSION,
    VISIBILITY,
    Manifest,
    Mode,
    Release,
    has_canary,
    is_hidden,
    live_version,
    predictor,
    remembered,
    scaling,
    service_annotations,
)
from nbship.cluster.state import (
    ServiceState,
    has_started,
    is_accepted,
    is_ready,
    is_routed_alone,
    routed_share,
    routed_weights,
    running_mode,
    server_name,
)
from nbship.config import Deploy, Stage

_PERCENT = "canaryTrafficPercent"
_FACTS = (VERSION, REVISION, DATA, RUN)
# What of a predictor moves with it when it and its canary change places; a canary may not scale by itself.
_OWN = ("name", "labels", "annotations", "serviceAccountName", "model", "logger")


@dataclass(frozen=True)
class Rollout:
    """A release on its way to a stage."""

    release: Release
    settings: Deploy
    stage: Stage
    mode: Mode


def begin(rollout: Rollout, service: Manifest) -> Manifest:
    """Returns the patch that puts a release beside what serves, without traffic."""
    wanted, stage = predictor(rollout.release, rollout.settings), rollout.stage
    if rollout.mode == "Standard":
        canary = {"name": rollout.release.canary, **wanted, "minReplicas": stage.min_replicas}
        return {
            "spec": {"predictor": _doubled(stage), "canary": [{"trafficPercent": 0, "predictor": canary}]}
        }
    running = service["spec"]["predictor"]
    stable = {key: value for key, value in running.items() if key != _PERCENT}
    # Another canary may be there already: then what served before it is remembered.
    before = service_annotations(service).get(STABLE) if has_canary(service) else None
    new = replacement(running, {**wanted, **scaling(stage), _PERCENT: 0})
    return {
        "metadata": {"annotations": {STABLE: before or json.dumps(stable, sort_keys=True)}},
        "spec": {"predictor": new},
    }


def shift(rollout: Rollout, service: Manifest, percent: int) -> Manifest:
    """Returns the patch that gives the canary a share of the traffic."""
    if rollout.mode == "Standard":
        return {"spec": {"canary": [{**service["spec"]["canary"][0], "trafficPercent": percent}]}}
    return {"spec": {"predictor": {_PERCENT: percent}}}


def promote(rollout: Rollout, service: Manifest) -> Manifest:
    """Returns the patch by which the canary is what serves; no server is started anew by it.

    In Standard mode what served before becomes the canary, without traffic, until `retire`: KServe deletes
    servers at once that it is not told of, and gateways that are late still send them requests.
    """
    if rollout.mode == "Standard":
        return swap(rollout, service)
    # What is remembered stays: to take it away would change the pods' annotations, and make a revision.
    return {
        "metadata": {"labels": rollout.release.labels},
        "spec": {"predictor": {_PERCENT: None}},
    }


def swap(rollout: Rollout, service: Manifest) -> Manifest:
    """Returns the patch by which the predictor and its canary change places; of Standard mode."""
    old, new = service["spec"]["predictor"], service["spec"]["canary"][0]["predictor"]
    kept = {key: old[key] for key in _OWN if key in old}
    canary = {"trafficPercent": 0, "predictor": {**kept, "minReplicas": rollout.stage.min_replicas}}
    moved = replacement({key: old[key] for key in kept}, {key: new[key] for key in _OWN if key in new})
    return {
        "metadata": {"labels": {key: new["labels"].get(key) for key in _FACTS}},
        # One without a name is not nbship's, and cannot be a canary.
        "spec": {
            "predictor": {**moved, **_doubled(rollout.stage)},
            "canary": [canary] if old.get("name") else None,
        },
    }


def leave(rollout: Rollout, service: Manifest) -> Manifest:
    """Returns the patch that takes the canary away; `finish` is to follow once `has_left`.

    In Knative mode all traffic is kept on the old revision meanwhile: else the canary would have all of it
    until the revision that this patch makes is ready.
    """
    if rollout.mode == "Standard":
        return {"spec": {"predictor": scaling(rollout.stage), "canary": None}}
    old = {**remembered(service), _PERCENT: 0}
    return {"spec": {"predictor": replacement(service["spec"]["predictor"], old)}}


def finish(rollout: Rollout) -> Manifest:
    """Returns the patch after which nothing tells of a canary that has left; empty if nothing does."""
    return {} if rollout.mode == "Standard" else {"spec": {"predictor": {_PERCENT: None}}}


def show(rollout: Rollout) -> Manifest:
    """Returns the patch by which a first version, until then hidden, is reached from outside."""
    return {"metadata": {"labels": {VISIBILITY: None, **rollout.release.labels}}}


def hide() -> Manifest:
    """Returns the patch by which a version is reached only inside the cluster."""
    return {"metadata": {"labels": {VISIBILITY: "cluster-local", **dict.fromkeys(_FACTS)}}}


def has_begun(rollout: Rollout, state: ServiceState, before: str) -> bool:
    """Returns whether the canary can be asked.

    Args:
        rollout: Whose canary.
        state: As it is now.
        before: What `newest` was before the canary; empty if that is not known.
    """
    if rollout.mode == "Standard":
        return bool(_canary_status(state.service).get("ready")) and has_started(state, _canary(state.service))
    status = _status(state.service)
    newest = status.get("latestCreatedRevision")
    return bool(newest) and newest != before and newest == status.get("latestReadyRevision")


def has_shifted(rollout: Rollout, state: ServiceState, percent: int) -> bool:
    """Returns whether the canary has its share of the traffic, by what routes it, and all is ready."""
    if rollout.mode == "Standard":
        ready = is_ready(state.service) and bool(_canary_status(state.service).get("ready"))
        accepted = state.route is not None and is_accepted(state.route)
        return ready and accepted and share(state) == percent
    return is_ready(state.service) and share(state) == percent


def does_not_split(rollout: Rollout, state: ServiceState, percent: int) -> bool:
    """Returns whether KServe has followed a shift as far as it says, and no route shows it.

    KServe before the change that gives HTTPRoutes weights (kserve#5912) is so for ever, others for a moment.
    """
    if rollout.mode == "Knative" or has_shifted(rollout, state, percent):
        return False
    status = _canary_status(state.service)
    followed = bool(status.get("ready")) and (status.get("trafficPercent") or 0) == percent
    return not routed_weights(state) or (is_ready(state.service) and followed)


def is_promoted(rollout: Rollout, state: ServiceState) -> bool:
    """Returns whether clients get the release alone, whether or not the one before is still there."""
    service = state.service
    if live_version(service) != rollout.release.version or not is_ready(service):
        return False
    if rollout.mode == "Knative":
        return share(state) == 100
    running = service["spec"]["predictor"]
    return is_routed_alone(state, server_name(service, running)) and has_started(state, running)


def has_left(rollout: Rollout, state: ServiceState, before: str) -> bool:
    """Returns whether the canary is gone, and what served before serves; the arguments as `has_begun`."""
    if rollout.mode == "Standard":
        return is_settled(rollout, state)
    return has_begun(rollout, state, before)


def is_settled(rollout: Rollout, state: ServiceState) -> bool:
    """Returns whether one version has all the traffic, and its servers are ready and as they should be."""
    service = state.service
    if not is_ready(service):
        return False
    if rollout.mode == "Knative":
        status = _status(service)
        is_newest = status.get("latestCreatedRevision") == status.get("latestReadyRevision")
        return is_newest and share(state) == 100
    running = service["spec"]["predictor"]
    if (service.get("status") or {}).get("canaryStatuses") or not has_started(state, running):
        return False
    return is_routed_alone(state, server_name(service, running))


def share(state: ServiceState) -> int:
    """Returns the percentage of requests that go to the version on its way, by what routes them."""
    if running_mode(state.service) != "Knative":
        canary = _canary(state.service)
        return routed_share(state, server_name(state.service, canary)) if canary else 0
    status = _status(state.service)
    newest = status.get("latestCreatedRevision")
    targets = [target for target in status.get("traffic") or () if target.get("revisionName") == newest]
    return sum(target.get("percent") or 0 for target in targets)


def newest(service: Manifest) -> str:
    """Returns Knative's newest revision; empty in Standard mode."""
    return str(_status(service).get("latestCreatedRevision") or "")


def failure(rollout: Rollout, service: Manifest) -> str:
    """Says why the newest servers will never be ready, if KServe's status tells.

    In Standard mode it tells only of the predictor, and may still be about its servers from before.
    """
    model = (service.get("status") or {}).get("modelStatus") or {}
    why = model.get("lastFailureInfo") or {}
    is_own = rollout.mode == "Knative" or is_hidden(service)
    if model.get("transitionStatus") not in (
        ("BlockedByFailedLoad", "InvalidSpec") if is_own else ("InvalidSpec",)
    ):
        return ""
    if rollout.mode == "Knative" and why.get("modelRevisionName") != newest(service):
        return ""
    return str(why.get("message") or why.get("reason") or model["transitionStatus"])


def canary_backend(rollout: Rollout, service: Manifest) -> Backend:
    """Returns the canary's own address."""
    if rollout.mode == "Standard":
        return Backend(server_name(service, _canary(service)))
    return live_backend(rollout, service)


def live_backend(rollout: Rollout, service: Manifest) -> Backend:
    """Returns the address of the predictor; it need not be reached from outside yet."""
    metadata = service["metadata"]
    if rollout.mode == "Standard":
        return Backend(server_name(service, service["spec"]["predictor"]))
    return revision_backend(metadata["namespace"], _status(service).get("latestReadyRevision", ""))


def replacement(old: Any, new: Mapping[str, Any]) -> Manifest:
    """Returns the merge patch that makes one mapping of another: keys that are not wanted become None."""
    before = old if isinstance(old, Mapping) else {}
    gone = {key: None for key in before if key not in new}
    below = {k: replacement(before.get(k), v) if isinstance(v, Mapping) else v for k, v in new.items()}
    return {**gone, **below}


def _doubled(stage: Stage) -> Manifest:
    # A canary's servers are taken from those of the predictor, which therefore asks for as many more.
    return {"minReplicas": 2 * stage.min_replicas, "maxReplicas": stage.min_replicas + stage.max_replicas}


def _canary(service: Manifest) -> Manifest:
    return next((dict(canary["predictor"]) for canary in service["spec"].get("canary") or ()), {})


def _canary_status(service: Manifest) -> Manifest:
    statuses = (service.get("status") or {}).get("canaryStatuses") or ()
    name = _canary(service).get("name")
    return next((dict(status) for status in statuses if status.get("name") == name), {})


def _status(service: Manifest) -> Manifest:
    components = (service.get("status") or {}).get("components") or {}
    return dict(components.get("predictor") or {})
