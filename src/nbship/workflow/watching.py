"""Waits for a cluster to follow a deployment, and watches a version under traffic. Changes nothing.

What is waited for is known from all that the cluster holds: the route, the servers, the service's status.
Somebody else's change, a deleted service and servers that cannot start end the wait at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from nbship.cluster import check as endpoint
from nbship.cluster import kserve, manifest, pods, rollout, services
from nbship.cluster.backends import Backend
from nbship.cluster.check import Ask, CheckError, CheckPassed, ServerAnswer, UnreachableError
from nbship.cluster.manifest import Manifest
from nbship.cluster.pods import Trouble
from nbship.cluster.rollout import Rollout
from nbship.cluster.services import Cluster
from nbship.cluster.state import ServiceState
from nbship.errors import NbshipError, Report
from nbship.monitoring.prometheus import worse_than_others
from nbship.package import Package

# Seconds that proxies and gateways may take to follow a change.
SETTLE = 15.0
_PAUSE = 0.5
# Seconds between two looks at what has traffic, while it is watched.
_LOOK = 2.0
# How far Prometheus is asked to look back at least, in seconds: a few scrapes.
_LOOK_BACK = 60.0


@dataclass(frozen=True)
class Deployment:
    """All that it takes to bring a release to a stage.

    `prometheus` is the address of the one that scrapes its servers; empty if none is known.
    """

    cluster: Cluster
    rollout: Rollout
    package: Package
    report: Report
    prometheus: str = ""

    @property
    def name(self) -> str:
        """The model, and its InferenceService."""
        return self.rollout.release.name

    @property
    def version(self) -> str:
        """The version that is to serve."""
        return self.rollout.release.version

    @property
    def pod_labels(self) -> dict[str, str]:
        """By these labels its servers are told from those of other versions and settings."""
        labels = manifest.predictor(self.rollout.release, self.rollout.settings)["labels"]
        return {key: labels[key] for key in (manifest.VERSION, manifest.SETTINGS)}


def observe(deployment: Deployment) -> ServiceState:
    """Reads what the cluster holds.

    Raises:
        NbshipError: The service is gone.
    """
    state = kserve.observe(deployment.cluster, deployment.name)
    if state is None:
        raise services.gone(deployment.cluster, deployment.name)
    return state


def wait(
    deployment: Deployment,
    is_reached: Callable[[ServiceState], bool],
    what: str,
    is_ours: Callable[[Manifest], object] = lambda _: None,
    own: bool = True,
) -> ServiceState:
    """Waits until the cluster is as wanted.

    Args:
        deployment: Whose.
        is_reached: Whether it is.
        what: What is waited for, for messages.
        is_ours: Raises if somebody else has taken over.
        own: Whether it is the deployment's own servers that must start.

    Raises:
        CheckError: The servers will never be ready; with the last lines that they wrote.
        NbshipError: It is not in time, or the service is gone.
    """
    timeout = deployment.rollout.settings.timeout
    deadline = time.monotonic() + timeout
    while True:
        state = observe(deployment)
        is_ours(state.service)
        if is_reached(state):
            return state
        trouble = _trouble(deployment, state) if own else None
        if trouble and trouble.is_final:
            raise CheckError(f"{what} cannot be served: {_described(trouble)}", "fix what its servers report")
        if time.monotonic() > deadline:
            place = f"{deployment.cluster.namespace}/{deployment.name}"
            reasons = "; ".join([trouble.reason] if trouble else _unmet(state.service))
            raise NbshipError(
                f"{place}: {what} is not ready after {timeout:g} s; {reasons}".removesuffix("; "),
                f"see kubectl describe inferenceservice {deployment.name}"
                f" --namespace {deployment.cluster.namespace}",
            )
        services.await_change(deployment.cluster, state.service)


def _trouble(deployment: Deployment, state: ServiceState) -> Trouble | None:
    found = pods.find_trouble(deployment.cluster, deployment.name, deployment.pod_labels)
    failure = rollout.failure(deployment.rollout, state.service)
    return found if (found and found.is_final) or not failure else Trouble(failure, is_final=True)


def _described(trouble: Trouble) -> str:
    return trouble.reason + (f"\n{trouble.log}" if trouble.log else "")


def _unmet(service: Manifest) -> list[str]:
    conditions = (service.get("status") or {}).get("conditions") or ()
    failing = [c for c in conditions if c.get("status") != "True"]
    return [f"{c.get('type')}: {c.get('message') or c.get('reason') or c['status']}" for c in failing]


def check(
    deployment: Deployment, backend: Backend, is_ours: Callable[[Manifest], object] = lambda _: None
) -> float:
    """Checks a server at its own address; returns the median seconds of an answer.

    Args:
        deployment: Whose.
        backend: The address.
        is_ours: Raises if somebody else has taken over.

    Raises:
        CheckError: It does not answer as the model's package says.
    """
    settings = deployment.rollout.settings
    ask = kserve.ask_backend(deployment.cluster, backend, deployment.name)
    passed = _eventually(
        deployment, lambda: endpoint.check(ask, deployment.package, settings), UnreachableError, is_ours
    )
    _report(deployment, passed, backend.service)
    return passed.latency


def check_ingress(deployment: Deployment, service: Manifest, values: bool) -> None:
    """Checks what clients get, if the stage says where they ask."""
    settings, url = deployment.rollout.settings, deployment.rollout.stage.url
    if not url:
        return
    ask = kserve.ask_ingress(url, service, deployment.name)
    # A gateway that does not know yet that the traffic has moved answers with the old version's values.
    passed = _eventually(
        deployment, lambda: endpoint.check(ask, deployment.package, settings, values), CheckError
    )
    _report(deployment, passed, url)


def dwell(
    deployment: Deployment, backend: Backend, is_ours: Callable[[Manifest], object] = lambda _: None
) -> float:
    """Asks a version for `deploy.dwell` seconds; all the while it must answer right and in time.

    Where Prometheus is known, clients must not fare worse with it than with the version beside it either.
    Meanwhile gateways get to follow the route.

    Args:
        deployment: Whose.
        backend: The version's own address.
        is_ours: Raises if somebody else has taken over.

    Returns:
        Median seconds of an answer.
    """
    settings = deployment.rollout.settings
    pause = settings.dwell / max(settings.requests, len(deployment.package.golden))
    looked = time.monotonic()

    def paced(ask: Ask) -> Ask:
        def asked(body: dict[str, object]) -> ServerAnswer:
            nonlocal looked
            answer = ask(body)
            time.sleep(pause)
            if settings.dwell and time.monotonic() - looked > _LOOK:
                is_ours(observe(deployment).service)
                _check_clients(deployment)
                looked = time.monotonic()
            return answer

        return asked

    ask = paced(kserve.ask_backend(deployment.cluster, backend, deployment.name))
    passed = _eventually(
        deployment, lambda: endpoint.check(ask, deployment.package, settings), UnreachableError, is_ours
    )
    _check_clients(deployment)
    _report(deployment, passed, backend.service)
    return passed.latency


def _check_clients(deployment: Deployment) -> None:
    """Raises CheckError if clients fare worse with it; a Prometheus that is silent holds nothing up."""
    if not deployment.prometheus:
        return
    plan = deployment.rollout
    try:
        trouble = worse_than_others(
            deployment.prometheus,
            plan.stage.namespace,
            deployment.name,
            deployment.version,
            max(plan.settings.dwell, _LOOK_BACK),
        )
    except NbshipError as error:
        deployment.report(f"  what clients get is not known: {error.message}")
        return
    if trouble:
        raise CheckError(f"clients fare worse: {trouble}", "see the servers' log and what clients send")


def _report(deployment: Deployment, passed: CheckPassed, where: str) -> None:
    right = passed.requests - passed.failed
    deployment.report(
        f"  {right} of {passed.requests} answers of {where} are right, median {passed.latency * 1000:.0f} ms"
    )


def _eventually(
    deployment: Deployment,
    check: Callable[[], CheckPassed],
    trouble: type[CheckError],
    is_ours: Callable[[Manifest], object] = lambda _: None,
) -> CheckPassed:
    """Checks until a trouble is over: proxies and gateways follow a change with some delay."""
    deadline = time.monotonic() + min(SETTLE, deployment.rollout.settings.timeout)
    while True:
        try:
            return check()
        except trouble:
            is_ours(observe(deployment).service)
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)
