"""Comments on merge requests, for tests: one way to write them on the stand-ins of both forges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from typer.main import get_command

from nbship.chatops.answers import AnswerEntry, Reply, from_text
from nbship.chatops.events import Comment
from nbship.chatops.work import work
from nbship.cli.chatops import parser
from nbship.cli.main import app
from tests import github_server, gitlab_server
from tests.github_server import GithubServer
from tests.gitlab_server import GitlabServer

NUMBER = 3
HEAD, NEXT = "1" * 40, "2" * 40
PARSE = parser(get_command(app))
_LEVELS = {"none": 0, "read": 20, "write": 30, "maintain": 40, "admin": 50}


@dataclass
class Place:
    """A merge request on a stand-in, into `main`.

    Attributes:
        name: Of the forge.
        server: The stand-in.
        variables: What the job has beside what the forge gives it.
        lines: What was reported.
    """

    name: Literal["github", "gitlab"]
    server: Any
    variables: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def environment(self, pipeline: int = 100) -> dict[str, str]:
        """The variables of a job in a pipeline, which runs."""
        self.states.setdefault(pipeline, self.alive)
        numbers = {"github": "GITHUB_RUN_ID", "gitlab": "CI_PIPELINE_ID"}
        token = {"github": "NBSHIP_GITHUB_TOKEN", "gitlab": "NBSHIP_GITLAB_TOKEN"}[self.name]
        links = {"CI_PIPELINE_URL": f"https://ci.example.org/{pipeline}"}
        known = {**self.server.environment, numbers[self.name]: str(pipeline)}
        assert token in known
        return {**known, **(links if self.name == "gitlab" else {}), **self.variables}

    @property
    def alive(self) -> str:
        return {"github": "in_progress", "gitlab": "running"}[self.name]

    @property
    def states(self) -> dict[int, str]:
        return self.server.runs if self.name == "github" else self.server.pipelines

    def end(self, pipeline: int) -> None:
        self.states[pipeline] = {"github": "completed", "gitlab": "failed"}[self.name]

    def at(self, now: str) -> None:
        """Sets the forge's clock, to the second."""
        self.server.now = now

    def allow(self, person: str, role: str) -> None:
        if self.name == "github":
            self.server.roles[person] = role
        else:
            self.server.levels[self._number(person)] = _LEVELS[role]

    def settings(self, text: str) -> None:
        self.server.files.setdefault("main", {})["nbship.yaml"] = text.encode()

    def push(self, commit: str, when: str = "2026-01-31T11:00:00Z") -> None:
        """Pushes to the branch of the merge request."""
        if self.name == "github":
            pull = self.server.pulls[NUMBER]
            pull["head"]["sha"] = commit
            self.server.pushes.insert(0, (pull["head"]["repo"]["full_name"], "topic", commit, when))
        else:
            self.server.merge_requests[NUMBER]["sha"] = commit
            self.server.versions.setdefault(NUMBER, []).insert(0, (commit, when))
            self.server.heads["topic"] = commit

    def fork(self) -> None:
        """Makes the merge request one of a fork."""
        if self.name == "github":
            self.server.pulls[NUMBER]["head"]["repo"]["full_name"] = "mallory/cars"
        else:
            self.server.merge_requests[NUMBER]["source_project_id"] = 666

    def write(self, text: str, author: str = "ada") -> Comment:
        """Writes a comment; returns what its event tells."""
        if self.name == "github":
            made = self.server.add_comment(NUMBER, text, author)
            project = github_server.REPOSITORY
        else:
            made = self.server.add_note(NUMBER, text, self._number(author))
            project = gitlab_server.PROJECT
        written = datetime.fromisoformat(made["created_at"])
        return Comment(self.name, project, str(NUMBER), str(made["id"]), author, text, written)

    def work(self, comment: Comment, root: Path = Path(), pipeline: int = 100, **how: Any) -> int:
        how.setdefault("environment", self.environment(pipeline))
        return work(comment, how.pop("environment"), PARSE, root, report=self.lines.append, **how)

    def say(self, text: str, author: str = "ada", pipeline: int = 100, **how: Any) -> tuple[AnswerEntry, ...]:
        """Writes a comment and has it worked; returns what became of its commands."""
        comment = self.write(text, author)
        self.work(comment, pipeline=pipeline, **how)
        return self.entries(comment)

    def entries(self, comment: Comment) -> tuple[AnswerEntry, ...]:
        found = [reply.entries for reply in self.replies() if reply.comment == comment.id]
        assert len(found) <= 1
        return found[0] if found else ()

    def replies(self) -> list[Reply]:
        return [reply for body in self.server.bodies(NUMBER) if (reply := from_text(body))]

    def reactions(self, comment: Comment) -> list[str]:
        where = self.server.reactions if self.name == "github" else self.server.awards
        return where.get(int(comment.id), [])

    def labels(self) -> set[str]:
        if self.name == "github":
            return self.server.labels.get(NUMBER, set())
        return set(self.server.merge_requests[NUMBER]["labels"])

    @property
    def merged(self) -> bool:
        if self.name == "github":
            return bool(self.server.pulls[NUMBER]["merged"])
        return self.server.merge_requests[NUMBER]["state"] == "merged"

    def _number(self, person: str) -> int:
        known = {name: number for number, name in self.server.names.items()}
        if person not in known:
            self.server.names[50 + len(known)] = person
            return 50 + len(known)
        return known[person]


@contextmanager
def place(name: str, commit: str = HEAD) -> Iterator[Place]:
    """Runs a stand-in with an open merge request, a developer `ada` and a maintainer `grace`."""
    server: Any
    if name == "github":
        server = GithubServer()
        server.add_pull(NUMBER, "topic", [commit])
        served = github_server.serve(server)
    else:
        server = GitlabServer()
        server.add_merge_request(NUMBER, "topic", [commit])
        served = gitlab_server.serve(server)
    with served:
        made = Place("github" if name == "github" else "gitlab", server)
        made.push(commit)
        made.allow("ada", "write")
        made.allow("grace", "maintain")
        made.settings("image: cars\n")
        yield made


Effects = Mapping[str, list[str]]
