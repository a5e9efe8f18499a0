"""How a canary comes, gets traffic, and is promoted or leaves, in either of KServe's deployment modes.

In Standard mode a canary is a named predictor in `spec.canary`, with a Deployment of its own. In Knative mode
it is the newest revision of the one predictor, with `canaryTrafficPercent`; the predictor that served before
is remembered in an annotation, since the canary's takes its place. All functions are pure: a service as it is
goes in, and a JSON merge patch or an answer comes out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nbship.cluster.backends import Backend, revision_backend
from nbship.cluster.kserve import is_ready
from nbship.cluster.manifest import (
    DATA,
    REVISION,
    RUN,
    STABLE,
    UNCHECKED,
    VERSION,
    VISIBILITY,
    Manifest,
    Mode,
    Release,
    canary_service,
    predictor,
    remembered,
    scaling,
    service_annotations,
)
from nbship.config import Deploy, Stage

_PERCENT = "canaryTrafficPercent"


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
        # A canary's servers are taken from those of the predictor, which therefore asks for as many more.
        more = {"minReplicas": 2 * stage.min_replicas, "maxReplicas": stage.min_replicas + stage.max_replicas}
        canary = {"name": rollout.release.canary, **wanted, "minReplicas": stage.min_replicas}
        return {"spec": {"predictor": more, "canary": [{"trafficPercent": 0, "predictor": canary}]}}
    running = service["spec"]["predictor"]
    stable = {key: value for key, value in running.items() if key != _PERCENT}
    # Another canary may be there already: then what served before it is remembered.
    kept = service_annotations(service).get(STABLE) or json.dumps(stable, sort_keys=True)
    new = replacement(running, {**wanted, **scaling(stage), _PERCENT: 0})
    return {"metadata": {"annotations": {STABLE: kept}}, "spec": {"predictor": new}}


def shift(rollout: Rollout, service: Manifest, percent: int) -> Manifest:
    """Returns the patch that gives the canary a share of the traffic."""
    if rollout.mode == "Standard":
        return {"spec": {"canary": [{**service["spec"]["canary"][0], "trafficPercent": percent}]}}
    return {"spec": {"predictor": {_PERCENT: percent}}}


def promote(rollout: Rollout) -> Manifest:
    """Returns the patch by which the canary is what serves; none of its servers is started anew."""
    unset = dict.fromkeys((VERSION, REVISION, DATA, RUN))
    labels = {"labels": {**unset, **rollout.release.labels}}
    if rollout.mode == "Standard":
        wanted = predictor(rollout.release, rollout.settings)
        promoted = {"name": rollout.release.canary, **wanted, **scaling(rollout.stage)}
        promoted["labels"] = labels["labels"]
        return {"metadata": labels, "spec": {"predictor": promoted, "canary": None}}
    return {"metadata": {**labels, "annotations": {STABLE: None}}, "spec": {"predictor": {_PERCENT: None}}}


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
    if rollout.mode == "Standard":
        return {}
    return {"metadata": {"annotations": {STABLE: None}}, "spec": {"predictor": {_PERCENT: None}}}


def show() -> Manifest:
    """Returns the patch by which a first version, until then hidden, is reached from outside."""
    return {"metadata": {"labels": {VISIBILITY: None}, "annotations": {UNCHECKED: None}}}


def hide() -> Manifest:
    """Returns the patch by which a version is reached only inside the cluster."""
    return {"metadata": {"labels": {VISIBILITY: "cluster-local"}, "annotations": {UNCHECKED: "true"}}}


def has_begun(rollout: Rollout, service: Manifest, before: str) -> bool:
    """Returns whether the canary can be asked.

    Args:
        rollout: Whose canary.
        service: As it is now.
        before: What `newest` was before the canary; empty if that is not known.
    """
    if rollout.mode == "Standard":
        return bool(_canary_status(service).get("ready"))
    status = _status(service)
    newest = status.get("latestCreatedRevision")
    return bool(newest) and newest != before and newest == status.get("latestReadyRevision")


def has_shifted(rollout: Rollout, service: Manifest, percent: int) -> bool:
    """Returns whether the canary has its share of the traffic."""
    if rollout.mode == "Standard":
        status = _canary_status(service)
        return bool(status.get("ready")) and (status.get("trafficPercent") or 0) == percent
    status = _status(service)
    newest = status.get("latestReadyRevision")
    shares = [target for target in status.get("traffic") or () if target.get("revisionName") == newest]
    return sum(share.get("percent") or 0 for share in shares) == percent


def has_left(rollout: Rollout, service: Manifest, before: str) -> bool:
    """Returns whether the canary is gone, and what served before serves; the arguments as `has_begun`."""
    if rollout.mode == "Standard":
        return is_settled(rollout, service)
    return has_begun(rollout, service, before)


def is_settled(rollout: Rollout, service: Manifest) -> bool:
    """Returns whether one version has all the traffic, and is ready."""
    if rollout.mode == "Standard":
        return is_ready(service) and not (service.get("status") or {}).get("canaryStatuses")
    return is_ready(service) and has_shifted(rollout, service, 100)


def newest(service: Manifest) -> str:
    """Returns Knative's newest revision; empty in Standard mode."""
    return str(_status(service).get("latestCreatedRevision") or "")


def failure(rollout: Rollout, service: Manifest) -> str:
    """Says why a canary will never be ready; empty if it may still be."""
    if rollout.mode == "Standard":
        model = _canary_status(service).get("modelStatus") or {}
    else:
        model = (service.get("status") or {}).get("modelStatus") or {}
    why = model.get("lastFailureInfo") or {}
    if model.get("transitionStatus") not in ("BlockedByFailedLoad", "InvalidSpec"):
        return ""
    if rollout.mode == "Knative" and why.get("modelRevisionName") != newest(service):
        return ""
    return str(why.get("message") or why.get("reason") or model["transitionStatus"])


def canary_backend(rollout: Rollout, service: Manifest) -> Backend:
    """Returns the canary's own address."""
    if rollout.mode == "Standard":
        return Backend(canary_service(rollout.release.name, rollout.release.canary))
    return live_backend(rollout, service)


def live_backend(rollout: Rollout, service: Manifest) -> Backend:
    """Returns the address of the predictor; it need not be reached from outside yet."""
    metadata = service["metadata"]
    if rollout.mode == "Standard":
        return Backend(canary_service(metadata["name"], service["spec"]["predictor"].get("name", "")))
    return revision_backend(metadata["namespace"], _status(service).get("latestReadyRevision", ""))


def replacement(old: Any, new: Mapping[str, Any]) -> Manifest:
    """Returns the merge patch that makes one mapping of another: keys that are not wanted become None."""
    before = old if isinstance(old, Mapping) else {}
    gone = {key: None for key in before if key not in new}
    below = {k: replacement(before.get(k), v) if isinstance(v, Mapping) else v for k, v in new.items()}
    return {**gone, **below}


def _canary_status(service: Manifest) -> Manifest:
    wanted = [canary["predictor"]["name"] for canary in service["spec"].get("canary") or ()]
    statuses = (service.get("status") or {}).get("canaryStatuses") or ()
    return next((dict(status) for status in statuses if status.get("name") in wanted), {})


def _status(service: Manifest) -> Manifest:
    components = (service.get("status") or {}).get("components") or {}
    return dict(components.get("predictor") or {})
