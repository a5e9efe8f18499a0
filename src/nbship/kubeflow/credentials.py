"""Where Kubeflow is and how to be let in: settings from the environment, and ways to authenticate by name.

A way is a function that returns the headers of a request; it is called again when the server no longer takes
them. Secrets stay in these functions: they are in no record, no error and no log. Sends no request itself,
except through `dex`, which logs in as a browser does.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from nbship.errors import NbshipError, UsageError, suggestion

Headers = Mapping[str, str]
Login = Callable[[], Headers]

PREFIX = "NBSHIP_KUBEFLOW_"
# Where a pod finds the token that Kubernetes projects for the audience pipelines.kubeflow.org.
_PROJECTED_TOKEN = "/var/run/secrets/kubeflow/pipelines/token"  # noqa: S105 (a path)
_COMMAND_SECONDS = 120


@dataclass(frozen=True)
class Server:
    """A Kubeflow Pipelines API server.

    Attributes:
        host: Its address, to which `/apis/v2beta1/…` is added.
        namespace: The Kubernetes namespace of the runs, where several users share the server; else empty.
        auth: One of `AUTHENTICATIONS`.
        ca: File with the certificates of a private authority that signs the server's; else empty.
        ui: Address of its pages, where it is another than the API's; else empty.
        timeout: Seconds to wait for an answer.
        backoff: Seconds before the first repetition of a request; doubled for each further one.
    """

    host: str
    namespace: str = ""
    auth: str = "none"
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
    auth = found["auth"] or "none"
    if not found["host"]:
        raise UsageError(
            "no Kubeflow server is named",
            f"set kubeflow.host in its file, or {PREFIX}HOST: https://kubeflow.example.org/pipeline",
        )
    if auth not in AUTHENTICATIONS:
        raise UsageError(f"{called['auth']}: there is no way '{auth}'", suggestion(auth, AUTHENTICATIONS))
    if found["ca"] and not Path(found["ca"]).is_file():
        raise UsageError(f"{called['ca']}: there is no file {found['ca']}", "give a file of PEM certificates")
    return Server(
        host=_address(called["host"], found["host"]),
        namespace=found["namespace"],
        auth=auth,
        ca=found["ca"],
        ui=_address(called["ui"], found["ui"]) if found["ui"] else "",
        timeout=_seconds(found["timeout"]) if found["timeout"] else Server.timeout,
    )


def login(server: Server, environment: Mapping[str, str]) -> Login:
    """Returns the way to authenticate that the server's settings name.

    Raises:
        UsageError: What it needs is missing from the environment.
    """
    return AUTHENTICATIONS[server.auth](server, environment)


def _none(_server: Server, _environment: Mapping[str, str]) -> Login:
    return dict


def _token(_server: Server, environment: Mapping[str, str]) -> Login:
    _require(environment, "TOKEN")
    return lambda: _bearer(_secret(environment, "TOKEN"))


def _service_account(_server: Server, environment: Mapping[str, str]) -> Login:
    """The kubelet renews the file, so it is read at every login."""
    path = environment.get(PREFIX + "TOKEN_FILE") or environment.get("KF_PIPELINES_SA_TOKEN_PATH")
    return lambda: _bearer(_read(Path(path or _PROJECTED_TOKEN)))


def _cookie(_server: Server, environment: Mapping[str, str]) -> Login:
    _require(environment, "COOKIE")
    return lambda: {"Cookie": _header_value("the cookie", _secret(environment, "COOKIE"))}


def _dex(server: Server, environment: Mapping[str, str]) -> Login:
    from nbship.kubeflow.dex import session_cookie

    username = environment.get(PREFIX + "USERNAME", "")
    if not username:
        raise UsageError(f"{PREFIX}USERNAME is not set", "it is what the login page asks for, often an email")
    _require(environment, "PASSWORD")
    return lambda: {"Cookie": session_cookie(server, username, _secret(environment, "PASSWORD"))}


def _command(_server: Server, environment: Mapping[str, str]) -> Login:
    words = shlex.split(environment.get(PREFIX + "COMMAND", ""))
    if not words:
        raise UsageError(f"{PREFIX}COMMAND is not set", "give a program that prints a token")

    def run() -> Headers:
        """What the helper asks or complains of goes to the terminal; only the token is read."""
        failed = f"{PREFIX}COMMAND: {words[0]}"
        try:
            result = subprocess.run(
                words, stdout=subprocess.PIPE, env=dict(environment), timeout=_COMMAND_SECONDS, check=False
            )
        except OSError as error:
            raise NbshipError(f"{failed}: {error.strerror}", "give a program that prints a token") from None
        except subprocess.TimeoutExpired:
            raise NbshipError(f"{failed} took over {_COMMAND_SECONDS} s", "run it by hand") from None
        if result.returncode != 0:
            raise NbshipError(f"{failed} failed with exit code {result.returncode}", "run it by hand")
        return _bearer(result.stdout.decode("utf-8", "replace"))

    return run


AUTHENTICATIONS: Mapping[str, Callable[[Server, Mapping[str, str]], Login]] = {
    "none": _none,
    "token": _token,
    "service-account": _service_account,
    "cookie": _cookie,
    "dex": _dex,
    "command": _command,
}


def _require(environment: Mapping[str, str], name: str) -> None:
    if not (environment.get(PREFIX + name) or environment.get(f"{PREFIX}{name}_FILE")):
        raise UsageError(
            f"{PREFIX}{name} is not set",
            f"set it, or {PREFIX}{name}_FILE to the path of a file that holds it",
        )


def _secret(environment: Mapping[str, str], name: str) -> str:
    """A secret as the environment gives it, or the file that the environment names."""
    return environment.get(PREFIX + name) or _read(Path(environment[f"{PREFIX}{name}_FILE"]))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise NbshipError(f"{path}: {error.strerror}", "mount the secret there, or name its file") from None
    except UnicodeDecodeError:
        raise NbshipError(f"{path}: not a text", "it should hold the secret alone") from None


def _bearer(token: str) -> Headers:
    return {"Authorization": f"Bearer {_header_value('the token', token)}"}


def _header_value(name: str, value: str) -> str:
    """A header is one line of ASCII; anything else was not copied whole, or is something else."""
    value = value.strip()
    if not value or not value.isascii() or not value.isprintable():
        what = "is empty" if not value else "is not one line of plain characters"
        raise NbshipError(f"{name} for Kubeflow {what}", "check where it comes from")
    return value


def _address(name: str, text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{name}: '{_shown(text)}' is no web address", "begin it with https://")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(
            f"{name}: an address without user, password, ? and # is needed",
            f"name the way to authenticate in {PREFIX}AUTH",
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
        raise UsageError(f"{PREFIX}TIMEOUT: '{text}' is no number of seconds", "for example 60")
    return seconds
