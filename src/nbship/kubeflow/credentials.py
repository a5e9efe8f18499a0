"""Authentication methods of a Kubeflow Pipelines server: by name, a function that gives a request's headers.

It is called again when the server no longer takes them. Secrets stay in these functions: they are in no
record, no error and no log. Sends no request itself, except through `dex`, which logs in as a browser does.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nbship.config import AuthenticationMethod
from nbship.errors import NbshipError, UsageError
from nbship.kubeflow.dex import session_cookie
from nbship.kubeflow.server import PREFIX, Server

Headers = Mapping[str, str]
Login = Callable[[], Headers]

# Where a pod finds the token that Kubernetes projects for the audience pipelines.kubeflow.org.
_PROJECTED_TOKEN = "/var/run/secrets/kubeflow/pipelines/token"  # noqa: S105 (a path)
_COMMAND_SECONDS = 120
# What may be in a file that `NAME_FILE` names.
_SECRETS = ("TOKEN", "COOKIE", "PASSWORD")


@dataclass(frozen=True)
class Authentication:
    """An authentication method.

    Attributes:
        needs: Variables without their prefix that must be set; a secret may also be in a file.
        headers: Gives a request's headers.
    """

    needs: tuple[str, ...]
    headers: Callable[[Server, Mapping[str, str]], Headers]


def login(server: Server, environment: Mapping[str, str]) -> Login:
    """Returns the authentication method that the server's settings name.

    Raises:
        UsageError: What it needs is missing from the environment.
    """
    method = AUTHENTICATIONS[server.auth]
    for name in method.needs:
        _require(environment, name)
    return lambda: method.headers(server, environment)


def _none(_server: Server, _environment: Mapping[str, str]) -> Headers:
    return {}


def _token(_server: Server, environment: Mapping[str, str]) -> Headers:
    return _bearer(_secret(environment, "TOKEN"))


def _service_account(_server: Server, environment: Mapping[str, str]) -> Headers:
    """The kubelet renews the file, so it is read at every login."""
    path = environment.get(PREFIX + "TOKEN_FILE") or environment.get("KF_PIPELINES_SA_TOKEN_PATH")
    return _bearer(_read(Path(path or _PROJECTED_TOKEN)))


def _cookie(_server: Server, environment: Mapping[str, str]) -> Headers:
    return {"Cookie": _header_value("the cookie", _secret(environment, "COOKIE"))}


def _dex(server: Server, environment: Mapping[str, str]) -> Headers:
    username, password = environment[PREFIX + "USERNAME"], _secret(environment, "PASSWORD")
    return {"Cookie": session_cookie(server, username, password)}


def _command(_server: Server, environment: Mapping[str, str]) -> Headers:
    """What the program asks or complains of goes to the terminal; only the token is read."""
    variable, hint = f"{PREFIX}COMMAND", "give a program that prints a token"
    try:
        words = shlex.split(environment[variable])
        result = subprocess.run(
            words, stdout=subprocess.PIPE, env=dict(environment), timeout=_COMMAND_SECONDS, check=False
        )
    except ValueError:
        raise UsageError(f"{variable}: a quotation mark is not closed", hint) from None
    except OSError as error:
        raise NbshipError(f"{variable}: {words[0]}: {error.strerror}", hint) from None
    except subprocess.TimeoutExpired:
        raise NbshipError(
            f"{variable}: {words[0]} timed out after {_COMMAND_SECONDS} s", "run it by hand"
        ) from None
    if result.returncode != 0:
        raise NbshipError(
            f"{variable}: {words[0]} failed with exit code {result.returncode}", "run it by hand"
        )
    return _bearer(result.stdout.decode("utf-8", "replace"))


AUTHENTICATIONS: Mapping[AuthenticationMethod, Authentication] = {
    "none": Authentication((), _none),
    "token": Authentication(("TOKEN",), _token),
    "service-account": Authentication((), _service_account),
    "cookie": Authentication(("COOKIE",), _cookie),
    "dex": Authentication(("USERNAME", "PASSWORD"), _dex),
    "command": Authentication(("COMMAND",), _command),
}


def _require(environment: Mapping[str, str], name: str) -> None:
    file = f"{name}_FILE" if name in _SECRETS else ""
    if environment.get(PREFIX + name, "").strip() or (file and environment.get(PREFIX + file)):
        return
    others = f", or {PREFIX}{file} to the path of a file that holds it" if file else ""
    raise UsageError(f"{PREFIX}{name} is not set", f"set it{others}; or another {PREFIX}AUTH")


def _secret(environment: Mapping[str, str], name: str) -> str:
    """A secret as the environment gives it, or the file that the environment names."""
    return environment.get(PREFIX + name) or _read(Path(environment[f"{PREFIX}{name}_FILE"]))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise NbshipError(f"{path}: {error.strerror}", "mount the secret there, or name its file") from None
    except UnicodeDecodeError:
        raise NbshipError(f"{path}: not a text file", "it should hold the secret alone") from None


def _bearer(token: str) -> Headers:
    return {"Authorization": f"Bearer {_header_value('the token', token)}"}


def _header_value(name: str, value: str) -> str:
    """A header is one line of ASCII; anything else was not copied whole, or is something else."""
    value = value.strip()
    if not value or not value.isascii() or not value.isprintable():
        what = "is empty" if not value else "is not one line of plain characters"
        raise NbshipError(f"{name} for Kubeflow {what}", "check where it comes from")
    return value
