"""Authentication methods of a Kubeflow Pipelines server: by name, a function that gives a request's headers.

It is called again when the server no longer takes them. Secrets stay in these functions: they are in no
record, no error and no log. Sends no request itself, except through `dex`, which logs in as a browser does.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from nbship.config import AuthenticationMethod
from nbship.errors import NbshipError, UsageError
from nbship.kubeflow.server import PREFIX, Server

Headers = Mapping[str, str]
Login = Callable[[], Headers]

# Where a pod finds the token that Kubernetes projects for the audience pipelines.kubeflow.org.
_PROJECTED_TOKEN = "/var/run/secrets/kubeflow/pipelines/token"  # noqa: S105 (a path)
_COMMAND_SECONDS = 120


def login(server: Server, environment: Mapping[str, str]) -> Login:
    """Returns the authentication method that the server's settings name.

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


AUTHENTICATIONS: Mapping[AuthenticationMethod, Callable[[Server, Mapping[str, str]], Login]] = {
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
