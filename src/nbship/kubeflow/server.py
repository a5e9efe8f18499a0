"""Where a Kubeflow Pipelines server is, and how it is spoken to: settings, from the environment or a file.

Holds no secret. How one is let in is the business of `credentials`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

from nbship.config import AuthenticationMethod
from nbship.errors import UsageError, suggestion

PREFIX = "NBSHIP_KUBEFLOW_"


@dataclass(frozen=True)
class Server:
    """A Kubeflow Pipelines API server.

    Attributes:
        host: Its address, to which `/apis/v2beta1/…` is added.
        namespace: The Kubernetes namespace of the runs, where several users share the server; else empty.
        auth: The authentication method.
        ca: File with the certificates of a private authority that signs the server's; else empty.
        ui: Address of its pages, where it is another than the API's; else empty.
        timeout: Seconds to wait for an answer.
        backoff: Seconds before the first repetition of a request; doubled for each further one.
    """

    host: str
    namespace: str = ""
    auth: AuthenticationMethod = "none"
    ca: str = ""
    ui: str = ""
    timeout: float = 60
    backoff: float = 0.5

    def run_link(self, run_id: str) -> str:
        """Returns the address of a run's page."""
        return f"{self.ui or self.host}/#/runs/details/{run_id}"


def read_server(environment: Mapping[str, str], written: Mapping[str, str] | None = None) -> Server:
    """Reads the settings of the server.

    Args:
        environment: `NBSHIP_KUBEFLOW_HOST`, `…_NAMESPACE`, `…_AUTH`, `…_CA`, `…_UI` and `…_TIMEOUT` are read.
        written: Of what the environment does not say, what `kubeflow` of a pipeline file does.

    Raises:
        UsageError: No server is named, or a setting is not understood.
    """
    keys = ("host", "namespace", "auth", "ca", "ui", "timeout")
    given = {key: environment.get(PREFIX + key.upper(), "").strip() for key in keys}
    found = {key: given[key] or (written or {}).get(key, "") for key in keys}
    called = {key: PREFIX + key.upper() if given[key] else f"kubeflow.{key}" for key in keys}
    if not found["host"]:
        raise UsageError(
            "no Kubeflow server is named",
            f"set kubeflow.host in its file, or {PREFIX}HOST: https://kubeflow.example.org/pipeline",
        )
    if found["ca"] and not Path(found["ca"]).is_file():
        raise UsageError(f"{called['ca']}: there is no file {found['ca']}", "give a file of PEM certificates")
    return Server(
        host=_address(called["host"], found["host"]),
        namespace=found["namespace"],
        auth=_method(called["auth"], found["auth"] or Server.auth),
        ca=found["ca"],
        ui=_address(called["ui"], found["ui"]) if found["ui"] else "",
        timeout=_seconds(found["timeout"]) if found["timeout"] else Server.timeout,
    )


def _method(name: str, text: str) -> AuthenticationMethod:
    known: tuple[AuthenticationMethod, ...] = get_args(AuthenticationMethod)
    for method in known:
        if method == text:
            return method
    raise UsageError(f"{name}: unknown authentication method '{text}'", suggestion(text, known))


def _address(name: str, text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{name}: '{_shown(text)}' is not a web address", "begin it with https://")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(
            f"{name}: an address without user, password, ? and # is needed",
            f"name the authentication method in {PREFIX}AUTH",
        )
    return text.rstrip("/")


def _shown(text: str) -> str:
    """An address that is wrong may have a password before its @."""
    return text.rpartition("@")[2]


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"{PREFIX}TIMEOUT: '{text}' is not a number of seconds", "for example 60")
    return seconds
