"""GitHub: the variables of its jobs, and its API: statuses, pull requests, their comments, pictures.

What is written there is the business of `workflow.merge_request`. The token is sent to the API's server
alone, and is in no error. A picture goes to a branch of its own, where one is named, for comments take no
files. `GITHUB`, at the end, offers it as `nbship.ci.forge` asks for it.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

from nbship.ci.forge import Discussion, Event, Job, Role, RunState
from nbship.ci.github_client import CA, TOKEN, Address, Client, find_address, user_of
from nbship.ci.github_discussion import discuss
from nbship.errors import NbshipError, UsageError

__all__ = ["GITHUB", "Address", "find_address", "read_job"]

PICTURES = "NBSHIP_GITHUB_PICTURES"
_LONGEST_DESCRIPTION = 140
_LONGEST_TITLE = 255
_WORKFLOW = "nbship-chatops.yml"
_EVENTS: Mapping[str, Event] = {
    "pull_request": "merge request",
    "schedule": "schedule",
    "workflow_dispatch": "manual",
}
_STATES: Mapping[RunState | Literal["running"], str] = {
    "running": "pending",
    "succeeded": "success",
    "failed": "failure",
    "rejected": "failure",
}
# Triage may label and close, but not push.
_ROLES: Mapping[str, Role] = {
    "admin": "admin",
    "maintain": "maintain",
    "write": "write",
    "triage": "read",
    "read": "read",
}


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
        pipeline=environment.get("GITHUB_RUN_ID", ""),
        link=_link(environment),
    )


def _link(environment: Mapping[str, str]) -> str:
    run, server = environment.get("GITHUB_RUN_ID"), environment.get("GITHUB_SERVER_URL")
    return f"{server}/{environment.get('GITHUB_REPOSITORY', '')}/actions/runs/{run}" if run and server else ""


@dataclass(frozen=True)
class _PullRequest:
    client: Client
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
        user = user_of(self.client) if marked else ""
        return [each for each in marked if (each["user"] or {}).get("login") == user]


@dataclass(frozen=True)
class _Repository:
    client: Client
    pictures: str
    workflow: str = ""

    def set_status(
        self, commit: str, state: RunState | Literal["running"], name: str, description: str, link: str
    ) -> None:
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

    def changed_since(self, moment: datetime) -> list[str]:
        listed = self.client.pages("pulls", state="open", sort="updated", direction="desc")
        recent = itertools.takewhile(
            lambda pull: datetime.fromisoformat(pull["updated_at"]) >= moment, listed
        )
        return [str(pull["number"]) for pull in recent]

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

    def discussion(self, number: str) -> Discussion:
        return discuss(self.client, int(number))

    def role(self, person: str) -> Role:
        """What somebody may do; a role of an organization's own counts as the one it is built on."""
        found = self.client.send("GET", f"collaborators/{quote(person, safe='')}/permission", missing=True)
        told = found or {}
        return _ROLES.get(str(told.get("role_name")), _ROLES.get(str(told.get("permission")), "none"))

    def read_text(self, path: str, revision: str) -> str:
        found = self.client.send("GET", f"contents/{quote(path)}", missing=True, ref=revision)
        return base64.b64decode(found["content"]).decode("utf-8") if found else ""

    def is_running(self, pipeline: str) -> bool:
        found = self.client.send("GET", f"actions/runs/{int(pipeline)}", missing=True)
        return bool(found) and found["status"] != "completed"

    def cancel(self, pipeline: str) -> None:
        try:
            self.client.send("POST", f"actions/runs/{int(pipeline)}/cancel")
        except NbshipError:
            # So it refuses for a run that has ended in the meantime.
            if self.is_running(pipeline):
                raise

    def start(self, branch: str, variables: Mapping[str, str]) -> tuple[str, str]:
        """Starts the workflow that this is a run of, as the branch has it: with its own caches alone."""
        body = {"ref": branch, "inputs": dict(variables), "return_run_details": True}
        made = self.client.send("POST", f"actions/workflows/{quote(self.workflow)}/dispatches", body)
        run = str(made["workflow_run_id"])
        return run, str(self.client.send("GET", f"actions/runs/{run}")["head_sha"])

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
        client = Client(address, token, environment.get(CA) or True)
        # Such as octo/cars/.github/workflows/nbship-chatops.yml@refs/heads/main.
        workflow = environment.get("GITHUB_WORKFLOW_REF", "").partition("@")[0].rpartition("/")[2]
        return _Repository(client, environment.get(PICTURES, "").strip(), workflow or _WORKFLOW)


def _event(path: str) -> dict[str, Any]:
    """What started the job, as GitHub wrote it into a file."""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 (an empty path is none)
            told = json.load(file)
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


GITHUB = _GitHub()
