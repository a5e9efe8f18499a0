"""GitHub's API: where it is, one request to it, and what went wrong with one.

The token is sent to the API's server alone, and is in no error. What is asked is the business of `github`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from nbship.ci.forge import TOO_MANY, refusal, split_address
from nbship.errors import NbshipError, UsageError, without_credentials

TOKEN = "NBSHIP_GITHUB_TOKEN"  # noqa: S105 (the name of a variable)
API = "NBSHIP_GITHUB_API"
CA = "NBSHIP_GITHUB_CA"
_TIMEOUT = 30.0
# Before each repetition, in seconds.
_PAUSES = (0.2, 1.0, 5.0)
_VERSION = "2022-11-28"
_NEEDED = f"check {TOKEN}: it must write statuses and pull requests of this repository"
_FORBIDDEN, _NOT_FOUND, _REDIRECTED = 403, 404, 300
# As whom a job's own token writes.
_ACTIONS = "github-actions[bot]"


@dataclass(frozen=True)
class Address:
    """A repository: the API's address, such as https://api.github.com, and the path, such as owner/name."""

    api: str
    repository: str


def find_address(environment: Mapping[str, str], repository: str = "") -> Address:
    """Finds the repository.

    Args:
        environment: `GITHUB_REPOSITORY` and `GITHUB_API_URL` in a job; `NBSHIP_GITHUB_API` if the API is
            elsewhere than at https://api.github.com, or on a GitHub Enterprise Server at /api/v3.
        repository: Address of the Git repository; the job's if empty.

    Raises:
        UsageError: Neither names a repository.
    """
    api = environment.get(API, "").rstrip("/")
    if not repository and environment.get("GITHUB_REPOSITORY"):
        return Address(api or environment.get("GITHUB_API_URL", ""), environment["GITHUB_REPOSITORY"])
    host, path = split_address(repository)
    path = path.strip("/").removesuffix(".git")
    if not host or path.count("/") != 1:
        raise UsageError(
            f"the repository's address is not a GitHub repository's: '{without_credentials(repository)}'",
            "it should be like https://github.com/owner/name.git: git remote -v",
        )
    if urlsplit(host).hostname in ("github.com", "ssh.github.com"):
        return Address(api or "https://api.github.com", path)
    return Address(api or f"{host}/api/v3", path)


@dataclass(frozen=True)
class Client:
    """Asks the API: repeats what may pass, follows pages, and says what went wrong."""

    address: Address
    token: str = field(repr=False)
    authority: str | bool = True

    def send(self, method: str, path: str, body: Any = None, missing: bool = False, **query: str) -> Any:
        """Sends a request; returns the answer, or None if what is missing may be so.

        Raises:
            NbshipError: GitHub refuses, or does not answer.
        """
        return self._answer(method, self._url(path), body, missing, query)[0]

    def pages(self, path: str, **query: str) -> Iterator[Any]:
        """Yields the records of all pages."""
        url, following = self._url(path), {"per_page": "100", **query}
        while url:
            records, links = self._answer("GET", url, None, False, following)
            yield from records
            url, following = links.get("next", {}).get("url", ""), {}

    def _url(self, path: str) -> str:
        root = f"{self.address.api}/repos/{self.address.repository}"
        return f"{self.address.api}{path}" if path.startswith("/") else f"{root}/{path}"

    def _answer(
        self, method: str, url: str, body: Any, missing: bool, query: Mapping[str, str]
    ) -> tuple[Any, Mapping[str, Any]]:
        import requests  # type: ignore[import-untyped]

        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {self.token}",
            "X-GitHub-Api-Version": _VERSION,
        }
        for pause in (*_PAUSES, None):
            try:
                answer = requests.request(
                    method,
                    url,
                    json=body,
                    params=query,
                    headers=headers,
                    timeout=_TIMEOUT,
                    verify=self.authority,
                    allow_redirects=method == "GET",
                )
            except requests.exceptions.SSLError:
                raise NbshipError(
                    f"{self.address.api}: its certificate is not trusted",
                    f"set {CA} to the file with your authority's certificates",
                ) from None
            except requests.RequestException as error:
                # Whether it was carried out is not known: what makes something is looked for by its caller.
                if pause is None or method == "POST":
                    what = "no answer in time" if isinstance(error, requests.Timeout) else "no connection"
                    raise NbshipError(f"{self.address.api}: {what}", f"check the network and {API}") from None
            else:
                if answer.status_code < _REDIRECTED:
                    return (answer.json() if answer.content else None), answer.links
                if missing and answer.status_code == _NOT_FOUND:
                    return None, {}
                if pause is None or not _may_pass(answer, method):
                    raise self._refused(answer.status_code, answer.text)
            time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _refused(self, status: int, text: str) -> NbshipError:
        try:
            said = str(json.loads(text)["message"])
        except (ValueError, KeyError, TypeError):
            said = text
        return refusal(self.address.api, status, said, self.token, _NEEDED)


def user_of(client: Client) -> str:
    """As whom the token writes; a job's own may not ask."""
    try:
        return str(client.send("GET", "/user")["login"])
    except NbshipError:
        return _ACTIONS


def _may_pass(answer: Any, method: str) -> bool:
    """Whether to try again: GitHub carried nothing out, or it does no harm twice."""
    status = answer.status_code
    limited = status == _FORBIDDEN and answer.headers.get("x-ratelimit-remaining") == "0"
    return status == TOO_MANY or limited or (status >= 500 and method != "POST")
