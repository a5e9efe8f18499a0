"""GitHub: the variables of its jobs, and its API: statuses, pull requests, their comments, pictures.

What is written there is the business of `workflow.merge_request`. The token is sent to the API's server
alone, and is in no error. A picture goes to a branch of its own, where one is named, for comments take no
files. `GITHUB`, at the end, offers it as `nbship.ci.forge` asks for it.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from nbship.ci.forge import TOO_MANY, Event, Job, RunState, refusal, split_address
from nbship.errors import NbshipError, UsageError, without_credentials

TOKEN = "NBSHIP_GITHUB_TOKEN"  # noqa: S105 (the name of a variable)
API = "NBSHIP_GITHUB_API"
CA = "NBSHIP_GITHUB_CA"
PICTURES = "NBSHIP_GITHUB_PICTURES"
_TIMEOUT = 30.0
# Before each repetition, in seconds.
_PAUSES = (0.2, 1.0, 5.0)
_VERSION = "2022-11-28"
_LONGEST_DESCRIPTION = 140
_LONGEST_TITLE = 255
_NEEDED = f"check {TOKEN}: it must write statuses and pull requests of this repository"
_FORBIDDEN, _NOT_FOUND, _REDIRECTED = 403, 404, 300
_EVENTS: Mapping[str, Event] = {
    "pull_request": "merge request",
    "schedule": "schedule",
    "workflow_dispatch": "manual",
}
_STATES: Mapping[RunState, str] = {"succeeded": "success", "failed": "failure", "rejected": "failure"}
# As whom a job's own token writes.
_ACTIONS = "github-actions[bot]"


@dataclass(frozen=True)
class Address:
    """A repository: the API's address, such as https://api.github.com, and the path, such as owner/name."""

    api: str
    repository: str


def read_job(environment: Mapping[str, str]) -> Job | None:
    """Reads the variables of GitHub Actions and the event that they name; None if there are none."""
    if environment.get("GITHUB_ACTIONS") != "true":
        return None
    told = _event(environment.get("GITHUB_EVENT_PATH", ""))
    request = told.get("pull_request") or {}
    event = _EVENTS.get(environment.get("GITHUB_EVENT_NAME", ""), "push")
    branch = environment.get("GITHUB_REF_NAME", "")
    return Job(
        event=event,
        branch="" if event == "merge request" else branch,
        head=environment.get("GITHUB_HEAD_REF") or branch,
        base=str((request.get("base") or {}).get("sha", "")),
        default_branch=str((told.get("repository") or {}).get("default_branch", "")),
        number=str(request.get("number", "")),
        project=environment.get("GITHUB_REPOSITORY", ""),
    )


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
class _Client:
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


@dataclass(frozen=True)
class _PullRequest:
    client: _Client
    number: int

    def read_note(self, mark: str) -> str:
        return next((str(each["body"]) for each in self._own(mark)), "")

    def write_note(self, mark: str, text: str) -> str:
        comments = self._own(mark)
        if not comments:
            path = f"issues/{self.number}/comments"
            try:
                return str(self.client.send("POST", path, {"body": text})["html_url"])
            except NbshipError:
                # Nobody knows whether it was made.
                comments = self._own(mark)
                if not comments:
                    raise
        first, *others = comments
        if first["body"] != text:
            first = self.client.send("PATCH", f"issues/comments/{first['id']}", {"body": text})
        # Two jobs at once may each have made one.
        for other in others:
            self.client.send("DELETE", f"issues/comments/{other['id']}", missing=True)
        return str(first["html_url"])

    def _own(self, mark: str) -> list[dict[str, Any]]:
        """Our comments, the oldest first; one that somebody else began with the same mark is not ours."""
        marked = [
            each
            for each in self.client.pages(f"issues/{self.number}/comments")
            if (each["body"] or "").startswith(mark)
        ]
        user = _user(self.client) if marked else ""
        return [each for each in marked if (each["user"] or {}).get("login") == user]


@dataclass(frozen=True)
class _Repository:
    client: _Client
    pictures: str

    def set_status(self, commit: str, state: RunState, name: str, description: str, link: str) -> None:
        cut = _LONGEST_DESCRIPTION - 1
        text = description if len(description) <= _LONGEST_DESCRIPTION else f"{description[:cut]}…"
        status = {"state": _STATES[state], "context": name, "description": text}
        self.client.send("POST", f"statuses/{commit}", status | ({"target_url": link} if link else {}))

    def open_merge_requests(self, branch: str, number: str = "") -> list[_PullRequest]:
        if number:
            found = [self.client.send("GET", f"pulls/{number}")]
        else:
            owner = self.client.address.repository.partition("/")[0]
            found = list(self.client.pages("pulls", head=f"{owner}:{branch}", state="open"))
        return [_PullRequest(self.client, each["number"]) for each in found if each["state"] == "open"]

    def merge_requests_of(self, commit: str) -> list[_PullRequest]:
        listed = list(self.client.pages(f"commits/{commit}/pulls"))
        opened = [each["number"] for each in listed if each["state"] == "open"]
        merged = [each["number"] for each in listed if each.get("merged_at")]
        return [_PullRequest(self.client, number) for number in opened or merged[:1]]

    def open_merge_request(self, branch: str, into: str, title: str, text: str) -> str:
        def find() -> str:
            owner = self.client.address.repository.partition("/")[0]
            opened = self.client.pages("pulls", head=f"{owner}:{branch}", state="open")
            return next((str(each["html_url"]) for each in opened), "")

        if address := find():
            return address
        content = {"title": title[:_LONGEST_TITLE], "head": branch, "base": into, "body": text}
        try:
            return str(self.client.send("POST", "pulls", content)["html_url"])
        except NbshipError:
            # Nobody knows whether it was made.
            if address := find():
                return address
            raise

    def upload(self, name: str, content: bytes) -> str:
        """Keeps a picture on the branch for pictures; its address is empty where no branch is named."""
        if not self.pictures:
            return ""
        path = f"contents/{quote(name)}"
        there = self.client.send("GET", path, missing=True, ref=self.pictures)
        if there is None:
            self._make_branch()
            made = {"message": f"Add {name} [skip ci]", "branch": self.pictures}
            text = base64.b64encode(content).decode()
            there = self.client.send("PUT", path, {**made, "content": text})["content"]
        return f"{there['html_url']}?raw=true"

    def _make_branch(self) -> None:
        """Makes the branch for pictures where there is none, with a history of its own."""
        if self.client.send("GET", f"git/ref/heads/{self.pictures}", missing=True):
            return
        about = "Pictures of nbship's notes on pull requests.\n"
        file = {"path": "README.md", "mode": "100644", "type": "blob", "content": about}
        tree = self.client.send("POST", "git/trees", {"tree": [file]})["sha"]
        commit = {"message": "Begin the pictures of notes [skip ci]", "tree": tree, "parents": []}
        sha = self.client.send("POST", "git/commits", commit)["sha"]
        self.client.send("POST", "git/refs", {"ref": f"refs/heads/{self.pictures}", "sha": sha})


@dataclass(frozen=True)
class _GitHub:
    name: str = "GitHub"
    token: str = TOKEN

    def job(self, environment: Mapping[str, str]) -> Job | None:
        return read_job(environment)

    def open(self, environment: Mapping[str, str], repository: str = "") -> _Repository:
        address = find_address(environment, repository)
        token = environment.get(TOKEN, "").strip()
        if not token:
            raise UsageError(
                f"there is no token for {address.api}",
                f"set {TOKEN}: in a workflow ${{{{ github.token }}}}, elsewhere a fine-grained token",
            )
        client = _Client(address, token, environment.get(CA) or True)
        return _Repository(client, environment.get(PICTURES, "").strip())


def _event(path: str) -> dict[str, Any]:
    """What started the job, as GitHub wrote it into a file."""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 (an empty path is none)
            told = json.load(file)
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _user(client: _Client) -> str:
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


GITHUB = _GitHub()
