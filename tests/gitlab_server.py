"""A GitLab API server on loopback, for tests: the calls that python-gitlab makes for nbship, in memory.

It refuses what the real one refuses, and can be told to fail.
"""

from __future__ import annotations

import email
import itertools
import json
import re
import secrets
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.forge_server import ForgeHandler, ForgeServer, Record
from tests.kubeflow_server import RefusedError
from tests.servers import http_server

API = "/api/v4"
PROJECT, NUMBER = "group/cars", 1
TOKEN = "glpat-battery-staple"  # noqa: S105
TRIGGER_TOKEN = "glptt-battery-staple"  # noqa: S105
_STATES = {"pending", "running", "success", "failed", "canceled", "skipped"}


@dataclass(frozen=True)
class Request:
    """A request: its query, and its body."""

    method: str
    query: dict[str, str]
    body: bytes
    content_type: str

    @property
    def values(self) -> Record:
        return json.loads(self.body)


@dataclass(kw_only=True)
class GitlabServer(ForgeServer):
    """What one project has, and how the server behaves.

    Attributes:
        user: The number of the token's user.
        statuses: By commit and name.
        merge_requests: By number; `commits` lists what they hold.
        notes: By the merge request's number, in the order in which they were made.
        uploads: Content by address.
        names: The users' names by number; others are user-NUMBER.
        levels: The members' access levels by number: 30 is Developer, 40 Maintainer.
        awards: Reactions by note.
        versions: By merge request, the newest first: commit and time of each push.
        files: Content by branch and path.
        pipelines: Their state by number: pending, running, success, failed, canceled.
        started: What was asked of each pipeline that was started: branch and variables.
        heads: The commits of branches.
        unmergeable: Why nothing may be merged; empty if it may.
        now: When notes are made.
        page: How many records an answer holds.
    """

    user: int = 7
    statuses: dict[tuple[str, str], Record] = field(default_factory=dict)
    merge_requests: dict[int, Record] = field(default_factory=dict)
    notes: dict[int, list[Record]] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=lambda: {7: "project_1_bot_0a1b"})
    levels: dict[int, int] = field(default_factory=dict)
    awards: dict[int, list[str]] = field(default_factory=dict)
    versions: dict[int, list[tuple[str, str]]] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    pipelines: dict[int, str] = field(default_factory=dict)
    started: dict[int, tuple[str, dict[str, str]]] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    unmergeable: str = ""
    now: str = "2026-01-31T12:00:00.000Z"
    page: int = 20
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(100))

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which nbship finds it."""
        return {"NBSHIP_GITLAB_URL": self.address, "NBSHIP_GITLAB_TOKEN": TOKEN, "CI_PROJECT_PATH": PROJECT}

    def add_merge_request(self, number: int, branch: str, commits: list[str], **changes: Any) -> None:
        address = f"{self.address}/{PROJECT}/-/merge_requests/{number}"
        self.merge_requests[number] = {
            "id": 1000 + number,
            "iid": number,
            "source_branch": branch,
            "target_branch": "main",
            "sha": (commits or [""])[-1],
            "labels": [],
            "state": "opened",
            "updated_at": self.now,
            "source_project_id": NUMBER,
            "target_project_id": NUMBER,
            "web_url": address,
            "commits": commits,
            **changes,
        }

    def add_note(self, number: int, body: str, author: int) -> Record:
        person = {"id": author, "username": self.names.get(author, f"user-{author}")}
        note = {"id": next(self._ids), "body": body, "author": person, "system": False}
        note |= {"created_at": self.now, "updated_at": self.now}
        if number in self.merge_requests:  # a note touches what it is on
            self.merge_requests[number]["updated_at"] = self.now
        self.notes.setdefault(number, []).append(note)
        return note

    def bodies(self, number: int) -> list[str]:
        return [note["body"] for note in self.notes.get(number, [])]

    def answer(self, path: str, request: Request) -> tuple[int, Any]:
        """Carries out one request."""
        for pattern, carry_out in ROUTES:
            match = re.fullmatch(pattern, f"{request.method} {path}")
            if match:
                return carry_out(self, request, *match.groups())
        raise RefusedError(404, "404 Project Not Found")

    def _user(self, request: Request) -> tuple[int, Any]:
        return 200, {"id": self.user, "username": self.names[self.user]}

    def _project(self, request: Request, project: str) -> tuple[int, Any]:
        return 200, {"id": NUMBER, "path_with_namespace": PROJECT, "default_branch": "main"}

    def _set_status(self, request: Request, commit: str) -> tuple[int, Any]:
        values = request.values
        if not re.fullmatch("[0-9a-f]{40}", commit):
            raise RefusedError(404, "404 Commit Not Found")
        if values["state"] not in _STATES or len(values.get("description", "")) > 255:
            raise RefusedError(400, "state does not have a valid value")
        old = self.statuses.get((commit, values["name"]))
        if old and old["status"] == values["state"]:
            raise RefusedError(400, f"Cannot transition status via :enqueue from :{old['status']}")
        status = {"id": next(self._ids), "status": values["state"], **values}
        self.statuses[commit, values["name"]] = status
        return 201, status

    def _of_commit(self, request: Request, commit: str) -> tuple[int, Any]:
        return 200, [each for each in self.merge_requests.values() if commit in each["commits"]]

    def _list(self, request: Request) -> tuple[int, Any]:
        wanted = {key: request.query[key] for key in ("source_branch", "state") if key in request.query}
        mine = [m for m in self.merge_requests.values() if all(m[key] == wanted[key] for key in wanted)]
        since = datetime.fromisoformat(request.query.get("updated_after", "0001-01-01T00:00:00Z"))
        return 200, [each for each in mine if datetime.fromisoformat(each["updated_at"]) >= since]

    def _show(self, request: Request, number: str) -> tuple[int, Any]:
        return 200, self._found(number)

    def _open(self, request: Request) -> tuple[int, Any]:
        values = request.values
        lacking = [key for key in ("source_branch", "target_branch", "title") if not values.get(key)]
        if lacking or len(values["title"]) > 255:
            raise RefusedError(400, f"{', '.join(lacking) or 'title'} is missing or too long")
        same = [m for m in self.merge_requests.values() if m["source_branch"] == values["source_branch"]]
        if any(each["state"] == "opened" for each in same):
            raise RefusedError(409, "Another open merge request already exists for this source branch")
        number = max(self.merge_requests, default=0) + 1
        self.add_merge_request(number, values.pop("source_branch"), [], **values)
        return 201, self.merge_requests[number]

    def _list_notes(self, request: Request, number: str) -> tuple[int, Any]:
        self._found(number)
        notes = self.notes.get(int(number), [])
        return 200, notes if request.query.get("sort") == "asc" else notes[::-1]

    def _create_note(self, request: Request, number: str) -> tuple[int, Any]:
        self._found(number)
        return 201, self.add_note(int(number), self._body(request), self.user)

    def _change_note(self, request: Request, number: str, note: str) -> tuple[int, Any]:
        found = self._found_note(number, note)
        found["body"] = self._body(request)
        return 200, found

    def _delete_note(self, request: Request, number: str, note: str) -> tuple[int, Any]:
        self.notes[int(number)].remove(self._found_note(number, note))
        return 204, None

    def _upload(self, request: Request) -> tuple[int, Any]:
        head = f"Content-Type: {request.content_type}\r\n\r\n".encode()
        message = email.message_from_bytes(head + request.body)
        (part,) = (part for part in message.walk() if part.get_filename())
        name = part.get_filename() or ""
        address = f"/uploads/{secrets.token_hex(16)}/{name}"
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        self.uploads[address] = content
        return 201, {"alt": name, "url": address, "markdown": f"![{name}]({address})"}

    def _change(self, request: Request, number: str) -> tuple[int, Any]:
        """Labels, with commas between; a change of nothing is refused (lib/api/merge_requests.rb)."""
        found, values = self._found(number), request.values
        if not values:
            raise RefusedError(400, "assignee_id, … are missing, at least one parameter must be provided")
        add, remove = (
            set(filter(None, values.get(f"{it}_labels", "").split(","))) for it in ("add", "remove")
        )
        found["labels"] = sorted(({*found["labels"]} | add) - remove)
        return 200, found

    def _merge(self, request: Request, number: str) -> tuple[int, Any]:
        """Its refusals are those of doc/api/merge_requests.md, "Merge a merge request"."""
        found = self._found(number)
        if found["state"] != "opened" or self.unmergeable:
            raise RefusedError(405, self.unmergeable or "405 Method Not Allowed")
        # Grape takes parameters from the address and from the body.
        if {**request.query, **request.values}.get("sha", found["sha"]) != found["sha"]:
            raise RefusedError(409, "SHA does not match HEAD of source branch")
        found["state"] = "merged"
        return 200, found

    def _versions(self, request: Request, number: str) -> tuple[int, Any]:
        listed = self.versions.get(int(number), [])
        return 200, [{"id": 1, "head_commit_sha": commit, "created_at": when} for commit, when in listed]

    def _award(self, request: Request, number: str, note: str) -> tuple[int, Any]:
        """One that is there is answered as not found (lib/api/award_emoji.rb)."""
        there = self.awards.setdefault(int(note), [])
        if request.values["name"] in there:
            raise RefusedError(404, "404 Award Emoji Name has already been taken Not Found")
        there.append(request.values["name"])
        return 201, {"id": next(self._ids), "name": request.values["name"]}

    def _users(self, request: Request) -> tuple[int, Any]:
        """By name, whose case does not count (doc/api/users.md)."""
        wanted = request.query["username"].lower()
        found = [number for number, name in self.names.items() if name.lower() == wanted]
        return 200, [{"id": number, "username": self.names[number]} for number in found]

    def _member(self, request: Request, user: str) -> tuple[int, Any]:
        if int(user) not in self.levels:
            raise RefusedError(404, "404 Not found")
        return 200, {"id": int(user), "access_level": self.levels[int(user)]}

    def _file(self, request: Request, path: str) -> tuple[int, Any]:
        content = self.files.get(request.query["ref"], {}).get(path)
        if content is None:
            raise RefusedError(404, "404 File Not Found")
        return 200, content

    def _start(self, request: Request) -> tuple[int, Any]:
        branch = request.values["ref"]
        if branch not in self.heads:
            raise RefusedError(400, "Reference not found")
        number = next(self._ids)
        variables = {each["key"]: each["value"] for each in request.values["variables"]}
        self.pipelines[number], self.started[number] = "running", (branch, variables)
        return 201, {"id": number, "sha": self.heads[branch], "status": "created"}

    def trigger(self, told: Record) -> tuple[int, Any]:
        """Starts a pipeline of the default branch by a trigger, as its `lib/api/ci/triggers.rb`."""
        variables = told.get("variables", {})
        if not all(isinstance(each, str) for pair in variables.items() for each in pair):
            raise RefusedError(400, "variables needs to be a map of key-valued strings")
        if told.get("token") != TRIGGER_TOKEN:
            raise RefusedError(404, "404 Not Found")
        if told.get("ref") != "main":
            raise RefusedError(400, "Reference not found")
        number = next(self._ids)
        self.pipelines[number], self.started[number] = "pending", ("main", variables)
        return 201, {"id": number, "web_url": f"{self.address}/{PROJECT}/-/pipelines/{number}"}

    def _pipeline(self, request: Request, number: str) -> tuple[int, Any]:
        if int(number) not in self.pipelines:
            raise RefusedError(404, "404 Not found")
        return 200, {"id": int(number), "status": self.pipelines[int(number)]}

    def _cancel(self, request: Request, number: str) -> tuple[int, Any]:
        self.pipelines[int(number)] = "canceled"
        return 200, {"id": int(number), "status": "canceled"}

    def _found(self, number: str) -> Record:
        if int(number) not in self.merge_requests:
            raise RefusedError(404, "404 Not found")
        return self.merge_requests[int(number)]

    def _found_note(self, number: str, note: str) -> Record:
        for each in self.notes.get(int(number), []):
            if each["id"] == int(note):
                if each["author"]["id"] != self.user:
                    raise RefusedError(403, "403 Forbidden")
                return each
        raise RefusedError(404, "404 Note Not Found")

    def _body(self, request: Request) -> str:
        body = request.values["body"]
        if not body.strip():
            raise RefusedError(400, "Note can't be blank")
        return body


_AT = f"{API}/projects/{NUMBER}"
_REQUESTS = f"{_AT}/merge_requests"
ROUTES: list[tuple[str, Callable[..., tuple[int, Any]]]] = [
    (f"GET {API}/user", GitlabServer._user),
    (f"GET {API}/projects/({NUMBER}|{PROJECT})", GitlabServer._project),
    (f"POST {_AT}/statuses/([^/]+)", GitlabServer._set_status),
    (f"GET {_AT}/repository/commits/([^/]+)/merge_requests", GitlabServer._of_commit),
    (f"GET {_REQUESTS}", GitlabServer._list),
    (f"POST {_REQUESTS}", GitlabServer._open),
    (f"GET {_REQUESTS}/(\\d+)", GitlabServer._show),
    (f"PUT {_REQUESTS}/(\\d+)", GitlabServer._change),
    (f"PUT {_REQUESTS}/(\\d+)/merge", GitlabServer._merge),
    (f"GET {_REQUESTS}/(\\d+)/versions", GitlabServer._versions),
    (f"GET {API}/users", GitlabServer._users),
    (f"GET {_AT}/members/all/(\\d+)", GitlabServer._member),
    (f"GET {_AT}/repository/files/(.+)/raw", GitlabServer._file),
    (f"POST {_AT}/pipeline", GitlabServer._start),
    (f"GET {_AT}/pipelines/(\\d+)", GitlabServer._pipeline),
    (f"POST {_AT}/pipelines/(\\d+)/cancel", GitlabServer._cancel),
    (f"POST {_REQUESTS}/(\\d+)/notes/(\\d+)/award_emoji", GitlabServer._award),
    (f"GET {_REQUESTS}/(\\d+)/notes", GitlabServer._list_notes),
    (f"POST {_REQUESTS}/(\\d+)/notes", GitlabServer._create_note),
    (f"PUT {_REQUESTS}/(\\d+)/notes/(\\d+)", GitlabServer._change_note),
    (f"DELETE {_REQUESTS}/(\\d+)/notes/(\\d+)", GitlabServer._delete_note),
    (f"POST {_AT}/uploads", GitlabServer._upload),
]


class _Handler(ForgeHandler):
    forge: GitlabServer

    def answered(self, path: str, query: dict[str, str], body: bytes) -> tuple[int, Any]:
        if f"{self.command} {path}" == f"POST {API}/projects/{PROJECT}/trigger/pipeline":
            return self.forge.trigger(json.loads(body))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise RefusedError(401, "401 Unauthorized")
        request = Request(self.command, query, body, self.headers.get("Content-Type", ""))
        return self.forge.answer(path, request)

    def page_of(
        self, records: list[Record], path: str, query: dict[str, str]
    ) -> tuple[list[Record], dict[str, str]]:
        number, size = int(query.get("page", 1)), int(query.get("per_page", self.forge.page))
        headers = {"X-Page": str(number), "X-Per-Page": str(size), "X-Total": str(len(records))}
        if number * size < len(records):
            rest = "&".join(f"{key}={value}" for key, value in query.items() if key != "page")
            following = f"{self.forge.address}{path}?{rest}&page={number + 1}&per_page={size}"
            headers |= {"Link": f'<{following}>; rel="next"', "X-Next-Page": str(number + 1)}
        return records[(number - 1) * size : number * size], headers


@contextmanager
def serve(gitlab: GitlabServer, tls: ssl.SSLContext | None = None) -> Iterator[GitlabServer]:
    """Runs a server on loopback."""
    handler = type("Handler", (_Handler,), {"forge": gitlab})
    with http_server(handler, tls, "localhost") as gitlab.address:
        yield gitlab
