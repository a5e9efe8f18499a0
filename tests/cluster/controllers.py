"""KServe's, Knative's and Kubernetes' controllers at work on a real API server, which has none of its own.

What they make of an InferenceService is worked out by `kserve_controller`, as for the stand-in of the API
server; here it becomes objects: status, HTTPRoute, Deployments, and pods behind Services that answer.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import urllib3

from tests import kserve_controller
from tests.cluster.api import MERGE, Api
from tests.cluster.pods import Pod as Served
from tests.cluster.pods import answering, make_pod, make_service
from tests.deploying import predict
from tests.kserve_controller import Deployment, Key, Pod
from tests.kubernetes_server import KubernetesServer

Record = dict[str, Any]
GROUP = "/apis/serving.kserve.io/v1beta1"
ROUTES = "/apis/gateway.networking.k8s.io/v1"
_PAUSE = 0.03


@dataclass
class Controllers:
    """What the controllers of a namespace have made.

    Attributes:
        api: The cluster.
        namespace: Theirs.
        servers: Ends the servers of the pods.
        known: What they know, and how fast they follow.
        wrong: Versions whose servers answer wrongly.
        made: What was written last, by path.
        generations: Of what was written, by path.
        answers: Where the servers of a version listen.
    """

    api: Api
    namespace: str
    servers: contextlib.ExitStack
    known: KubernetesServer = field(default_factory=KubernetesServer)
    wrong: set[str] = field(default_factory=set)
    made: dict[str, Record] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)
    answers: dict[str, tuple[str, int]] = field(default_factory=dict)

    def work(self) -> None:
        """Does what there is to do, once."""
        status, answer = self.api.ask("GET", f"{GROUP}/namespaces/{self.namespace}/inferenceservices")
        if status != 200:
            return
        found = {(self.namespace, each["metadata"]["name"]): each for each in answer["items"]}
        controllers = self.known.controllers
        for key, known in list(controllers.services.items()):
            if not _same(known, found.get(key)):
                self._remove(key)
        controllers.now = time.monotonic()
        for key, service in found.items():
            before = controllers.services.get(key, {"status": {}, "_revisions": [], "_rolled_out": ""})
            inner = {name: before[name] for name in ("_revisions", "_rolled_out", "status")}
            controllers.services[key] = {**service, **inner}
            controllers.reconcile(key)
            self._tell(key)
        self._serve()

    def _remove(self, key: Key) -> None:
        """Has what a service owned go with it, as the garbage collector does."""
        self.known.controllers.remove(key)
        owned = re.compile(rf"/apis/.*/(httproutes|deployments)/{key[1]}(-v[-0-9]+)?(-predictor)?(/status)?")
        for path in [path for path in self.made if owned.fullmatch(path)]:
            del self.made[path]
            if not path.endswith("/status"):
                self.api.ask("DELETE", path)

    def _tell(self, key: Key) -> None:
        """Writes status and route of a service."""
        controllers = self.known.controllers
        path = f"{GROUP}/namespaces/{key[0]}/inferenceservices/{key[1]}/status"
        self._write(path, {"status": controllers.services[key]["status"]})
        if route := controllers.routes.get(key):
            path = f"{ROUTES}/namespaces/{key[0]}/httproutes/{key[1]}"
            version = ROUTES.removeprefix("/apis/")
            content = {"apiVersion": version, "kind": "HTTPRoute", "spec": route["spec"]}
            accepted = {"type": "Accepted", "status": "True"}
            accepted["observedGeneration"] = self._apply(path, content)
            self._write(f"{path}/status", {"status": {"parents": [{"conditions": [accepted]}]}})

    def _serve(self) -> None:
        """Writes Deployments and pods, and has those that are ready answer behind Services."""
        deployments = self.known.controllers.deployments
        running = {pod.name for each in deployments.values() for pod in each.pods}
        for path in [path for path in self.made if "/pods/" in path and path.split("/")[-2] not in running]:
            del self.made[path]
            self.api.ask("DELETE", path.removesuffix("/status"))
        for (namespace, name), deployment in deployments.items():
            self._deploy(namespace, name, deployment)
            is_revision = name[-5:].isdigit()
            ready = []
            for pod in deployment.pods:
                where = self._answer(pod)
                told = self.known._pod(pod)["status"]
                path = f"/api/v1/namespaces/{namespace}/pods/{pod.name}/status"
                if path not in self.made:
                    make_pod(self.api, namespace, pod.name, where, pod.template["labels"])
                self._write(path, {"status": told}, "application/strategic-merge-patch+json")
                if self.known.controllers.is_ready(pod):
                    ready.append(Served(namespace, pod.name, *where))
            service = f"{name}-private" if is_revision else name
            if self._is_new(f"{namespace}/{service}", {"ready": ready}):
                make_service(self.api, namespace, service, ready)

    def _deploy(self, namespace: str, name: str, deployment: Deployment) -> None:
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
        labels = {"serving.kserve.io/inferenceservice": name}
        container = {"name": "kserve-container", "image": "nbship:1"}
        template = {
            "metadata": {"labels": {**deployment.template["labels"], **labels}},
            "spec": {"containers": [container]},
        }
        spec = {"replicas": deployment.replicas, "selector": {"matchLabels": labels}, "template": template}
        generation = self._apply(path, {"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec})
        told = self.known._deployment(namespace, name, {})["status"]
        told |= {"readyReplicas": told["availableReplicas"], "observedGeneration": generation}
        self._write(f"{path}/status", {"status": told})

    def _answer(self, pod: Pod) -> tuple[str, int]:
        """Has a server answer as the version of a pod does."""
        version = pod.template["labels"]["nbship/version"]

        def answer(path: str, headers: dict[str, str], body: Record) -> tuple[int, Record]:
            return (200, {"predictions": [0.5]}) if version in self.wrong else predict(pod.template, body)

        if version not in self.answers:
            self.answers[version] = self.servers.enter_context(answering(answer))
        return self.answers[version]

    def _apply(self, path: str, content: Record) -> int:
        """Makes an object, or changes it; returns the generation that it has then."""
        if self._is_new(path, content):
            self.generations[path] = self.api.make(*path.rsplit("/", 1), content)["metadata"]["generation"]
        return self.generations[path]

    def _write(self, path: str, content: Record, kind: str = MERGE) -> None:
        """Changes an object, if there is anything to change; what is gone meanwhile is no matter."""
        if self._is_new(path, content):
            status, answer = self.api.ask("PATCH", path, content, kind=kind)
            assert status in (200, 404), f"{path}: {answer['message']}"

    def _is_new(self, path: str, content: Record) -> bool:
        is_new = self.made.get(path) != content
        self.made[path] = content
        return is_new


def _same(before: Record, now: Record | None) -> bool:
    return now is not None and before["metadata"]["uid"] == now["metadata"]["uid"]


@contextlib.contextmanager
def controllers(api: Api, namespace: str) -> Iterator[Controllers]:
    """Has the controllers work in a namespace."""
    done = threading.Event()
    with contextlib.ExitStack() as servers:
        working = Controllers(api, namespace, servers)
        working.known.controllers = kserve_controller.Controllers(pod_start=0.1, route_lag=0.1)

        def loop() -> None:
            while not done.is_set():
                # The server may be away for a while.
                with contextlib.suppress(urllib3.exceptions.HTTPError):
                    working.work()
                time.sleep(_PAUSE)

        thread = threading.Thread(target=loop)
        thread.start()
        try:
            yield working
        finally:
            done.set()
            thread.join()
