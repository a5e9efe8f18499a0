"""Takes a release to a stage: beside what serves, checked, then with more and more of the traffic.

Works from what the cluster holds, so that a repeat goes on where it was cut off. What serves is never
deleted, and gets its traffic back if anything goes wrong. `watching` waits and checks.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from nbship.cluster import manifest, rollout, services
from nbship.cluster.manifest import Manifest
from nbship.cluster.state import ServiceState, routed_weights
from nbship.errors import NbshipError
from nbship.workflow import watching
from nbship.workflow.watching import Deployment, check, check_ingress, dwell, observe, wait


@dataclass(frozen=True)
class DeploymentResult:
    """How it ended well.

    Attributes:
        service: The InferenceService.
        previous: The version that served before; empty if none did.
        changed: Whether this call changed what serves.
        latency: Median seconds of an answer in the last check.
    """

    service: Manifest
    previous: str
    changed: bool
    latency: float


def roll_out(deployment: Deployment) -> DeploymentResult:
    """Brings a release to where it serves, or leaves all as it was.

    Raises:
        CheckError: Its server does not answer as the model's package says, or cannot start.
        NbshipError: The cluster refuses, or something is not ready in time.
    """
    service = services.get(deployment.cluster, deployment.name)
    if service is not None and manifest.service_labels(service).get(manifest.MANAGED) != "nbship":
        raise NbshipError(
            f"nbship did not make the InferenceService {deployment.cluster.namespace}/{deployment.name}",
            "deploy to another namespace, or delete it if nobody needs it",
        )
    if service is not None and manifest.is_hidden(service):
        if manifest.is_part(_wanted(deployment, hidden=True), service):
            return _roll_out_first(deployment, service)
        services.delete(deployment.cluster, deployment.name, manifest.is_hidden)
        service = None
    if service is None:
        return _roll_out_first(deployment, None)
    if manifest.live_version(service) == deployment.version:
        return _serves_already(deployment, service)
    return _canary(deployment, service)


def _wanted(deployment: Deployment, hidden: bool = False) -> Manifest:
    plan = deployment.rollout
    return manifest.inference_service(plan.release, plan.settings, plan.stage, plan.mode, hidden)


def _roll_out_first(deployment: Deployment, service: Manifest | None) -> DeploymentResult:
    """The first version: nobody can reach it until it is checked."""
    plan, cluster = deployment.rollout, deployment.cluster
    wanted = _wanted(deployment, hidden=True)
    if service is None:
        # An answer that was lost, and asked for again, finds what it made itself.
        service = services.create(cluster, wanted) or services.get(cluster, deployment.name)
        if service is None or not (manifest.is_hidden(service) and manifest.is_part(wanted, service)):
            raise NbshipError(
                f"another deployment of {deployment.name} to {cluster.namespace} is running",
                "wait for it, and deploy again",
            )
    made = service["metadata"]["uid"]
    try:
        deployment.report(f"{deployment.version} is deployed without traffic; waiting until it is ready")
        state = wait(deployment, partial(rollout.is_settled, plan), deployment.version)
        check(deployment, rollout.live_backend(plan, state.service))
        state = _make_reachable(deployment, state.service)
        deployment.report(f"{deployment.version} can be reached by clients")
        # What serves, and not only what was hidden.
        latency = check(deployment, rollout.live_backend(plan, state.service))
        check_ingress(deployment, state.service, values=True)
    except BaseException:
        with _reported(deployment):
            _withdraw(deployment, made)
        raise
    deployment.report(f"{deployment.version} has all the traffic")
    return DeploymentResult(state.service, "", changed=True, latency=latency)


def _make_reachable(deployment: Deployment, hidden: Manifest) -> ServiceState:
    """Lets clients reach a first version; returns the state with the address that they have."""
    plan, cluster = deployment.rollout, deployment.cluster
    services.change(
        cluster, deployment.name, lambda now: rollout.show(plan) if manifest.is_hidden(now) else {}
    )
    url = hidden["status"].get("url")
    deadline = time.monotonic() + min(watching.SETTLE, plan.settings.timeout)

    def has_address(state: ServiceState) -> bool:
        # Where KServe makes no ingress, the address stays that of the inside.
        shown = state.service["status"].get("url") != url or time.monotonic() > deadline
        return rollout.is_settled(plan, state) and shown

    return wait(deployment, has_address, deployment.version)


def _withdraw(deployment: Deployment, uid: str) -> None:
    """Takes back a first version: deletes it if nobody could reach it yet, else hides it."""

    def may_go(service: Manifest) -> bool:
        return service["metadata"]["uid"] == uid and manifest.is_hidden(service)

    if services.delete(deployment.cluster, deployment.name, may_go):
        deployment.report(f"{deployment.version} is removed; nobody could reach it")
        return
    service = services.get(deployment.cluster, deployment.name)
    if service is not None and service["metadata"]["uid"] == uid and not manifest.has_canary(service):
        services.change(deployment.cluster, deployment.name, lambda _: rollout.hide())
        deployment.report(f"{deployment.version} cannot be reached from outside any more")


def _serves_already(deployment: Deployment, service: Manifest) -> DeploymentResult:
    """The version serves already: other versions on their way are stopped, and its settings renewed."""
    plan = deployment.rollout
    stopped = manifest.has_canary(service)
    if stopped:
        _abandon(deployment, manifest.canary_version(service))
        service = wait(deployment, partial(rollout.is_settled, plan), deployment.version).service
    wanted = _wanted(deployment)
    renewed = not manifest.is_part(wanted, service)
    if renewed:
        service = _renew(deployment, wanted, rollout.newest(service))
    latency = check(deployment, rollout.live_backend(plan, service))
    check_ingress(deployment, service, values=True)
    return DeploymentResult(service, deployment.version, changed=stopped or renewed, latency=latency)


def _renew(deployment: Deployment, wanted: Manifest, newest: str) -> Manifest:
    """Brings changed settings to what serves; takes them back if servers do not start with them."""
    plan, cluster = deployment.rollout, deployment.cluster
    before: Manifest = {}

    def patch(now: Manifest) -> Manifest:
        before.update(now["spec"]["predictor"])
        return {"metadata": {"labels": wanted["metadata"]["labels"]}, "spec": wanted["spec"]}

    def back(now: Manifest) -> Manifest:
        return {"spec": {"predictor": rollout.replacement(now["spec"]["predictor"], before)}}

    services.change(cluster, deployment.name, patch)
    try:
        deployment.report(
            f"{deployment.version} gets other settings; waiting until its new servers are ready"
        )
        if newest:
            wait(deployment, partial(rollout.has_begun, plan, before=newest), deployment.version)
        return wait(deployment, partial(rollout.is_settled, plan), deployment.version).service
    except BaseException:
        with _reported(deployment):
            services.change(cluster, deployment.name, back)
            deployment.report(f"{deployment.version} has its settings from before")
        raise


def _canary(deployment: Deployment, service: Manifest) -> DeploymentResult:
    """A new version beside the one that serves."""
    plan = deployment.rollout
    previous = manifest.live_version(service)
    if plan.mode == "Knative" and manifest.canary_version(service) == previous:
        _abandon(deployment, previous)
    try:
        state = _begin(deployment)
        check(deployment, rollout.canary_backend(plan, state.service), partial(_check_ours, deployment))
        state, latency = _promote(deployment, _shift(deployment, rollout.share(state)))
    except BaseException:
        with _reported(deployment):
            if _take_back(deployment):
                deployment.report(f"{deployment.version} is removed; {previous} has all the traffic")
        raise
    if manifest.has_canary(state.service):
        services.change(deployment.cluster, deployment.name, partial(_retire, deployment))
        state = wait(deployment, partial(rollout.is_settled, plan), deployment.version)
    deployment.report(f"{deployment.version} has all the traffic, {previous} none")
    return DeploymentResult(state.service, previous, changed=True, latency=latency)


def _begin(deployment: Deployment) -> ServiceState:
    plan, cluster = deployment.rollout, deployment.cluster
    before = ""

    def patch(now: Manifest) -> Manifest:
        nonlocal before
        before = rollout.newest(now)
        part = manifest.predictor(plan.release, plan.settings)
        canaries = [canary["predictor"] for canary in now["spec"].get("canary") or ()]
        there = canaries[0] if canaries else now["spec"]["predictor"]
        if manifest.has_canary(now) and manifest.is_part(part, there):
            before = ""
            return {}
        return rollout.begin(plan, now)

    answer = services.change(cluster, deployment.name, patch, dry_run=True)
    if not manifest.has_canary(answer):
        raise NbshipError(
            f"this KServe does not support canaries in {plan.mode} mode, and would silently leave them out",
            "use KServe 0.20 or later, with the CRDs of that release",
        )
    services.change(cluster, deployment.name, patch)
    share = rollout.share(observe(deployment))
    deployment.report(
        f"{deployment.version} is deployed with {share} % of the traffic; waiting until it is ready"
    )
    is_begun = partial(rollout.has_begun, plan, before=before)
    return wait(deployment, is_begun, deployment.version, partial(_check_ours, deployment))


def _shift(deployment: Deployment, share: int) -> bool:
    """Gives the canary its shares of the traffic, one after the other, where the cluster can split it.

    Returns:
        Whether it was watched with all of it.
    """
    plan, ours = deployment.rollout, partial(_check_ours, deployment)
    watched = False
    for percent in plan.settings.steps:
        if percent <= share:
            continue

        def patch(now: Manifest, percent: int = percent) -> Manifest:
            return _with_own_canary(deployment, now) and rollout.shift(plan, now, percent)

        services.change(deployment.cluster, deployment.name, patch)
        state = wait(deployment, _Followed(deployment, percent), f"{percent} %", ours)
        if not rollout.has_shifted(plan, state, percent):
            deployment.report(
                f"traffic is not split: {_why_not(state)}; {deployment.version} is checked, then gets it all"
            )
            return False
        deployment.report(f"{deployment.version} has {percent} % of the traffic")
        dwell(deployment, rollout.canary_backend(plan, state.service), ours)
        watched = percent == 100
        check_ingress(deployment, state.service, values=watched)
    return watched


@dataclass
class _Followed:
    """Whether the route has followed a shift, or will not, since KServe has done all that it does."""

    deployment: Deployment
    percent: int
    since: float = 0.0

    def __call__(self, state: ServiceState) -> bool:
        plan = self.deployment.rollout
        if rollout.has_shifted(plan, state, self.percent):
            return True
        if not rollout.does_not_split(plan, state, self.percent):
            self.since = 0.0
            return False
        if state.route is None:
            return True
        self.since = self.since or time.monotonic()
        return time.monotonic() - self.since > min(watching.SETTLE, plan.settings.timeout / 2)


def _why_not(state: ServiceState) -> str:
    if not routed_weights(state):
        return "there is no HTTPRoute (see enableGatewayApi in KServe's settings)"
    return "this KServe gives HTTPRoutes no weights in Standard mode, later releases do"


def _promote(deployment: Deployment, watched: bool) -> tuple[ServiceState, float]:
    """Makes the canary what serves, and checks what does; in Standard mode what served before is still there.

    If it was not watched with all the traffic yet, it is now, and gateways get to follow.
    """
    plan = deployment.rollout

    def patch(now: Manifest) -> Manifest:
        return _with_own_canary(deployment, now) and rollout.promote(plan, now)

    services.change(deployment.cluster, deployment.name, patch)
    state = wait(
        deployment, partial(rollout.is_promoted, plan), deployment.version, partial(_check_live, deployment)
    )
    deployment.report(f"{deployment.version} is promoted")
    examine = check if watched else dwell
    is_live = partial(_check_live, deployment)
    latency = examine(deployment, rollout.live_backend(plan, state.service), is_live)
    check_ingress(deployment, state.service, values=True)
    return state, latency


def _retire(deployment: Deployment, service: Manifest) -> Manifest:
    """The patch by which the version before goes, which has no traffic any more."""
    is_ours = manifest.live_version(service) == deployment.version and manifest.has_canary(service)
    return rollout.leave(deployment.rollout, service) if is_ours else {}


def _with_own_canary(deployment: Deployment, service: Manifest) -> Manifest:
    """Returns the service if the canary is this release's, else raises."""
    there = manifest.canary_version(service)
    if there != deployment.version:
        raise NbshipError(
            f"another deployment replaced the canary {deployment.version}"
            + (f" by {there}" if there else ""),
            "wait for that deployment, and deploy again",
        )
    return service


def _check_ours(deployment: Deployment, service: Manifest) -> None:
    _with_own_canary(deployment, service)


def _check_live(deployment: Deployment, service: Manifest) -> None:
    there = manifest.live_version(service)
    if there != deployment.version:
        raise NbshipError(
            f"another deployment put {there or 'another service'} in place of {deployment.version}",
            "wait for that deployment, and deploy again",
        )


def _take_back(deployment: Deployment) -> bool:
    """Takes the release away, promoted or not, if what served before is there; returns whether it was."""
    plan, ours = deployment.rollout, deployment.version

    def demote(now: Manifest) -> Manifest:
        is_promoted = plan.mode == "Standard" and manifest.live_version(now) == ours
        return rollout.swap(plan, now) if is_promoted and manifest.has_canary(now) else {}

    services.change(deployment.cluster, deployment.name, demote)
    return _abandon(deployment, ours)


def _abandon(deployment: Deployment, version: str) -> bool:
    """Takes the canary of a version away, if there is one; what served before gets all the traffic."""
    plan, cluster = deployment.rollout, deployment.cluster
    found, before = False, ""

    def leave(now: Manifest) -> Manifest:
        nonlocal found, before
        found = manifest.has_canary(now) and manifest.canary_version(now) == version
        # Cut off between leaving and finishing, what served before is its own canary.
        if not found or version == manifest.live_version(now):
            return {}
        before = rollout.newest(now)
        return rollout.leave(plan, now)

    def finish(now: Manifest) -> Manifest:
        left = manifest.has_canary(now) and manifest.canary_version(now) == manifest.live_version(now)
        return rollout.finish(plan) if left else {}

    if plan.mode == "Standard":
        _drain(deployment, version)
    services.change(cluster, deployment.name, leave)
    if found:
        is_gone = partial(rollout.has_left, plan, before=before)
        wait(deployment, is_gone, "the version that served before", own=False)
        services.change(cluster, deployment.name, finish)
    return found


def _drain(deployment: Deployment, version: str) -> None:
    """Takes a canary's traffic away before its servers go, and lets gateways follow.

    A route stays as it was while a canary is not ready: then there is nothing to wait for.
    """
    plan = deployment.rollout
    found = False

    def patch(now: Manifest) -> Manifest:
        nonlocal found
        found = manifest.has_canary(now) and manifest.canary_version(now) == version
        return rollout.shift(plan, now, 0) if found else {}

    services.change(deployment.cluster, deployment.name, patch)
    if not found:
        return
    deadline = time.monotonic() + min(watching.SETTLE, plan.settings.timeout)

    def is_drained(state: ServiceState) -> bool:
        return not rollout.share(state) or time.monotonic() > deadline

    wait(deployment, is_drained, version, own=False)
    time.sleep(min(plan.settings.dwell, watching.SETTLE))


@contextlib.contextmanager
def _reported(deployment: Deployment) -> Iterator[None]:
    """Reports what goes wrong while something that went wrong is put right: that is what is raised."""
    try:
        yield
    except NbshipError as error:
        deployment.report(
            f"{deployment.version} could not be rolled back: {error.message}; deploying again does it"
        )
