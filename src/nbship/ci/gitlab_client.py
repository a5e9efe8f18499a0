"""GitLab's API: where it is, one request to it by python-gitlab, and what went wrong with one.

The token is sent to the server alone that CI's variables or the repository's address name, and is in no
error. What is asked is the business of `gitlab`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from nbship.ci.forge import TOO_MANY, refusal, split_address
from nbship.errors import NbshipError, UsageError, without_credentials

if TYPE_CHECKING:
    from gitlab import Gitlab
    from gitlab.exceptions import GitlabError
    from gitlab.v4.objects import Project

T = TypeVar("T")

TOKEN = "NBSHIP_GITLAB_TOKEN"  # noqa: S105 (the name of a variable)
URL = "NBSHIP_GITLAB_URL"
CA = "NBSHIP_GITLAB_CA"
_TIMEOUT = 30.0
# Before each repetition of what must not be made twice, in seconds; the library repeats everything else.
_PAUSES = (0.2, 1.0, 5.0)
ONCE: Mapping[str, Any] = {"retry_transient_errors": False, "obey_rate_limit": False}
_NEEDED = f"check {TOKEN}: not expired, scope api, and the role Developer in this project"


@dataclass(frozen=True)
class Address:
    """A project: the server, such as https://gitlab.example.org, and the path, such as group/name."""

    server: str
    project: str


def find_address(environment: Mapping[str, str], repository: str = "") -> Address:
    """Finds the project.

    Args:
        environment: `CI_SERVER_URL` and `CI_PROJECT_PATH` in a CI job; `NBSHIP_GITLAB_URL` if the server's
            address has a path, or cannot be told from the repository's.
        repository: Address of the Git repository; CI's project if empty.

    Raises:
        UsageError: Neither names a project.
    """
    server = environment.get(URL, "").rstrip("/")
    if not repository and environment.get("CI_PROJECT_PATH"):
        return Address(server or environment.get("CI_SERVER_URL", ""), environment["CI_PROJECT_PATH"])
    host, path = split_address(repository)
    path = path.removeprefix(urlsplit(server).path).strip("/").removesuffix(".git")
    if not host or "/" not in path:
        raise UsageError(
            f"the repository's address is not a GitLab project's: '{without_credentials(repository)}'",
            "it should be like https://gitlab.example.org/group/name.git: git remote -v",
        )
    return Address(server or host, path)


def open_project(environment: Mapping[str, str], repository: str = "") -> Project:
    """Returns a project that can be asked and written to.

    Args:
        environment: The token is in `NBSHIP_GITLAB_TOKEN`; a private authority's certificates in the file
            that `NBSHIP_GITLAB_CA`, or in a CI job `CI_SERVER_TLS_CA_FILE`, names.
        repository: As for `find_address`.

    Raises:
        UsageError: There is no token, or no project is named.
        NbshipError: The extra is not installed; or GitLab refuses, or does not answer.
    """
    address = find_address(environment, repository)
    token = environment.get(TOKEN, "").strip()
    if not token:
        raise UsageError(
            f"there is no token for {address.server}", f"set {TOKEN} to one with the scope api; see the guide"
        )
    try:
        import gitlab
    except ModuleNotFoundError:
        raise NbshipError("python-gitlab is not installed", "pip install 'nbship[gitlab]'") from None
    authority = environment.get(CA) or environment.get("CI_SERVER_TLS_CA_FILE") or True
    # As a bearer token it is not sent on when the server redirects to another host.
    server = gitlab.Gitlab(
        address.server,
        oauth_token=token,
        timeout=_TIMEOUT,
        ssl_verify=authority,
        retry_transient_errors=True,
        keep_base_url=True,
    )
    with explained(server):
        return server.projects.get(address.project)


def created(make: Callable[[], T], find: Callable[[], T | None]) -> T:
    """Makes something; when nobody knows whether it was made, it is looked for before it is made again."""
    import requests  # type: ignore[import-untyped]
    from gitlab.exceptions import GitlabError

    for pause in _PAUSES:
        try:
            return make()
        except (GitlabError, requests.ConnectionError, requests.Timeout) as error:
            if isinstance(error, GitlabError) and not _may_pass(error):
                raise
        time.sleep(pause)
        found = find()
        if found:
            return found
    return make()


def _may_pass(error: GitlabError) -> bool:
    status = error.response_code or 0
    return status == TOO_MANY or status >= 500


@contextmanager
def explained(server: Gitlab) -> Iterator[None]:
    """Says what went wrong, and what to do."""
    import requests
    from gitlab.exceptions import GitlabError

    address = server.url
    try:
        yield
    except GitlabError as error:
        status = error.response_code or 0
        said, token = str(error.error_message), server.oauth_token or ""
        raise refusal(address, status, said, token, _NEEDED) from None
    except requests.exceptions.SSLError:
        raise NbshipError(
            f"{address}: its certificate is not trusted",
            f"set {CA} to the file with your authority's certificates",
        ) from None
    except requests.RequestException as error:
        what = "no answer in time" if isinstance(error, requests.Timeout) else "no connection"
        raise NbshipError(f"{address}: {what}", f"check the network and {URL}") from None
