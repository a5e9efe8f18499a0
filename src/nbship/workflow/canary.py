"""Takes a release to a stage: beside what serves, checked, then with more and more of the traffic.

Works from what the cluster holds, so that a repeat goes on where it was cut off. What serves is never
deleted, and gets its traffic back if anything goes wrong.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from nbship.cluster import check as endpoint
from nbship.cluster import kserve, manifest, rollout, services
from nbship.cluster.backends import Backend
from nbship.cluster.check import Checked, CheckError, UnreachableError
from nbship.cluster.manifest import Manifest
from nbship.cluster.rollout import Rollout
from nbship.cluster.services import Cluster
from nbship.errors import NbshipError
from nbship.package import Package

Report = Callable[[str], None]
# Seconds that a gateway may take to follow a change.
_SETTLE = 15.0
_PAUSE = 0.5


@dataclass(frozen=True)
class Journey:
    """All that it takes to bring a release to a stage."""

    cluster: Cluster
    rollout: Rollout
    package: Package
    report: Report

    @property
    def name(self) -> str:
        """The model, and its InferenceService."""
        return self.rollout.release.name

    @property
    def version(self) -> str:
        """The version that is to serve."""
        return self.rollout.release.version


@dataclass(frozen=True)
class Arrival:
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


def take(journey: Journey) -> Arrival:
    """Brings a release to where it serves, or leaves all as it was.

    Raises:
        CheckError: Its server does not answer as the model's package says.
        NbshipError: The cluster refuses, or something is not ready in time.
    """
    service = services.get(journey.cluster, journey.name)
    if service is not None and manifest.service_labels(service).get(manifest.MANAGED) != "nbship":
        raise NbshipError(
            f"{journey.cluster.namespace} has an InferenceService {journey.name} that nbship did not make",
            "deploy to another namespace, or delete it if nobody needs it",
        )
    if service is not None and manifest.is_hidden(service):
        if manifest.is_part(_wanted(journey, hidden=True), service):
            return _first(journey, service)
        services.delete(journey.cluster, service)
        service = None
    if service is None:
        return _first(journey, None)
    if manifest.live_version(service) == journey.version:
        return _again(journey, service)
    return _canary(journey, service)


def _wanted(journey: Journey, hidden: bool = False) -> Manifest:
    way = journey.rollout
    return manifest.inference_service(way.release, way.settings, way.stage, way.mode, hidden)


def _first(journey: Journey, service: Manifest | None) -> Arrival:
    """The first version: nobody can reach it until it is checked."""
    way, cluster = journey.rollout, journey.cluster
    if service is None:
        service = services.create(cluster, _wanted(journey, hidden=True))
        if service is None:
            raise NbshipError(
                f"somebody else deploys {journey.name} to {cluster.namespace} at this moment",
                "wait for it, and deploy again",
            )
    made = service["metadata"]["uid"]
    try:
        journey.report(f"{journey.version} is deployed without traffic; waiting until it is ready")
        service = _wait(journey, partial(rollout.is_settled, way), journey.version)
        checked = _check(journey, rollout.live_backend(way, service))
        service = _show(journey, service)
        _check_ingress(journey, service, values=True)
    except BaseException:
        with _reported(journey):
            _withdraw(journey, made)
        raise
    journey.report(f"{journey.version} has all the traffic")
    return Arrival(service, "", changed=True, latency=checked)


def _show(journey: Journey, hidden: Manifest) -> Manifest:
    """Lets clients reach a first version; returns the service with the address that they have."""
    way, cluster = journey.rollout, journey.cluster
    services.change(cluster, journey.name, lambda now: rollout.show() if manifest.is_hidden(now) else {})
    url = hidden["status"].get("url")
    deadline = time.monotonic() + min(_SETTLE, way.settings.timeout)

    def has_address(service: Manifest) -> bool:
        # Where KServe makes no ingress, the address stays that of the inside.
        shown = service["status"].get("url") != url or time.monotonic() > deadline
        return rollout.is_settled(way, service) and shown

    return _wait(journey, has_address, journey.version)


def _withdraw(journey: Journey, uid: str) -> None:
    """Takes back a first version: deletes it if nobody could reach it yet, else hides it."""
    service = services.get(journey.cluster, journey.name)
    if service is None or service["metadata"]["uid"] != uid:
        return
    if manifest.is_hidden(service):
        services.delete(journey.cluster, service)
        journey.report(f"{journey.version} is removed; nobody could reach it")
    elif not manifest.has_canary(service):
        services.change(journey.cluster, journey.name, lambda _: rollout.hide())
        journey.report(f"{journey.version} cannot be reached from outside any more")


def _again(journey: Journey, service: Manifest) -> Arrival:
    """The version serves already: other versions on their way are stopped, and its settings renewed."""
    way, cluster = journey.rollout, journey.cluster
    stopped = manifest.has_canary(service)
    if stopped:
        _abandon(journey, manifest.canary_version(service))
        service = _wait(journey, partial(rollout.is_settled, way), journey.version)
    wanted = _wanted(journey)
    renewed = not manifest.is_part(wanted, service)
    if renewed:
        patch = {"metadata": {"labels": wanted["metadata"]["labels"]}, "spec": wanted["spec"]}
        before = rollout.newest(service)
        service = services.change(cluster, journey.name, lambda _: patch)
        if before:
            _wait(journey, partial(rollout.has_begun, way, before=before), journey.version)
        service = _wait(journey, partial(rollout.is_settled, way), journey.version)
    checked = _check(journey, rollout.live_backend(way, service))
    _check_ingress(journey, service, values=True)
    return Arrival(service, journey.version, changed=stopped or renewed, latency=checked)


def _canary(journey: Journey, service: Manifest) -> Arrival:
    """A new version beside the one that serves."""
    way = journey.rollout
    previous = manifest.live_version(service)
    if way.mode == "Knative" and manifest.canary_version(service) == previous:
        _abandon(journey, previous)
    try:
        service = _begin(journey)
        checked = _check(journey, rollout.canary_backend(way, service))
        for percent in way.settings.steps:
            if percent > manifest.canary_traffic(service):
                service, checked = _step(journey, percent)
        services.change(
            journey.cluster, journey.name, lambda now: _if_ours(journey, now) and rollout.promote(way)
        )
        service = _wait(journey, partial(rollout.is_settled, way), journey.version)
    except BaseException:
        with _reported(journey):
            if _abandon(journey, journey.version):
                journey.report(f"{journey.version} is removed; {previous} has all the traffic")
        raise
    journey.report(f"{journey.version} has all the traffic, {previous} none")
    return Arrival(service, previous, changed=True, latency=checked)


def _begin(journey: Journey) -> Manifest:
    way, cluster = journey.rollout, journey.cluster
    before = ""

    def patch(now: Manifest) -> Manifest:
        nonlocal before
        before = rollout.newest(now)
        part = manifest.predictor(way.release, way.settings)
        canaries = [canary["predictor"] for canary in now["spec"].get("canary") or ()]
        there = canaries[0] if canaries else now["spec"]["predictor"]
        if manifest.has_canary(now) and manifest.is_part(part, there):
            before = ""
            return {}
        return rollout.begin(way, now)

    answer = services.change(cluster, journey.name, patch, dry_run=True)
    if not manifest.has_canary(answer):
        raise NbshipError(
            f"this KServe does not know canaries in {way.mode} mode, and would silently leave them out",
            "use KServe 0.20 or later, with the CRDs of that release",
        )
    service = services.change(cluster, journey.name, patch)
    share = manifest.canary_traffic(service)
    journey.report(f"{journey.version} is deployed with {share} % of the traffic; waiting until it is ready")
    return _wait(journey, partial(rollout.has_begun, way, before=before), journey.version)


def _step(journey: Journey, percent: int) -> tuple[Manifest, float]:
    way = journey.rollout
    services.change(
        journey.cluster,
        journey.name,
        lambda now: _if_ours(journey, now) and rollout.shift(way, now, percent),
    )
    service = _wait(journey, partial(rollout.has_shifted, way, percent=percent), f"{percent} %")
    journey.report(f"{journey.version} has {percent} % of the traffic")
    checked = _check(journey, rollout.canary_backend(way, service))
    _check_ingress(journey, service, values=percent == 100)
    return service, checked


def _if_ours(journey: Journey, service: Manifest) -> Manifest:
    """Returns the service if the canary is this release's, else raises."""
    there = manifest.canary_version(service)
    if there != journey.version:
        raise NbshipError(
            f"somebody else replaced the canary {journey.version}" + (f" by {there}" if there else ""),
            "wait for that deployment, and deploy again",
        )
    return service


def _abandon(journey: Journey, version: str) -> bool:
    """Takes the canary of a version away, if there is one; what served before gets all the traffic."""
    way, cluster = journey.rollout, journey.cluster
    found, before = False, ""

    def leave(now: Manifest) -> Manifest:
        nonlocal found, before
        found = manifest.has_canary(now) and manifest.canary_version(now) == version
        # Cut off between leaving and finishing, what served before is its own canary.
        if not found or version == manifest.live_version(now):
            return {}
        before = rollout.newest(now)
        return rollout.leave(way, now)

    def finish(now: Manifest) -> Manifest:
        left = manifest.has_canary(now) and manifest.canary_version(now) == manifest.live_version(now)
        return rollout.finish(way) if left else {}

    services.change(cluster, journey.name, leave)
    if found:
        is_gone = partial(rollout.has_left, way, before=before)
        services.wait(cluster, journey.name, is_gone, way.settings, "the version that served before")
        services.change(cluster, journey.name, finish)
    return found


def _wait(journey: Journey, is_ready: Callable[[Manifest], bool], what: str) -> Manifest:
    def look(service: Manifest) -> bool:
        why = rollout.failure(journey.rollout, service)
        if why:
            raise CheckError(f"{what} cannot be served: {why}", "see the log of its pods")
        return is_ready(service)

    return services.wait(journey.cluster, journey.name, look, journey.rollout.settings, what)


def _check(journey: Journey, backend: Backend) -> float:
    """Checks a server at its own address; returns the median seconds of an answer."""
    settings = journey.rollout.settings
    ask = kserve.ask_backend(journey.cluster, backend, journey.name)
    listed = settings.runtime == manifest.STOCK_RUNTIME
    checked = _eventually(
        lambda: endpoint.check(ask, journey.package, settings, listed), UnreachableError, settings.timeout
    )
    right = checked.requests - checked.failed
    journey.report(
        f"  {right} of {checked.requests} answers of {backend.service} are right, "
        f"median {checked.latency * 1000:.0f} ms"
    )
    return checked.latency


def _check_ingress(journey: Journey, service: Manifest, values: bool) -> None:
    """Checks what clients get, if the stage says where they ask."""
    way = journey.rollout
    if not way.stage.url:
        return
    ask = kserve.ask_ingress(way.stage.url, service, journey.name)
    listed = way.settings.runtime == manifest.STOCK_RUNTIME
    # A gateway that does not know yet that the traffic has moved answers with the old version's values.
    checked = _eventually(
        lambda: endpoint.check(ask, journey.package, way.settings, listed, values),
        CheckError,
        way.settings.timeout,
    )
    journey.report(
        f"  {checked.failed} of {checked.requests} requests to {way.stage.url} failed, "
        f"median {checked.latency * 1000:.0f} ms"
    )


def _eventually(check: Callable[[], Checked], trouble: type[CheckError], timeout: float) -> Checked:
    """Checks until a trouble is over: proxies and gateways follow a change with some delay."""
    deadline = time.monotonic() + min(_SETTLE, timeout)
    while True:
        try:
            return check()
        except trouble:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)


@contextlib.contextmanager
def _reported(journey: Journey) -> Iterator[None]:
    """Reports what goes wrong while something that went wrong is put right: that is what is raised."""
    try:
        yield
    except NbshipError as error:
        journey.report(f"{journey.version} could not be taken back: {error.message}; deploying again does it")
