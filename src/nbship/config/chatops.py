"""What `nbship.yaml` says of commands in comments on merge requests: who may do what, and when to merge."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nbship.config.base import Model, Name

# In the forges' words: Reporter, Developer, Maintainer, Owner on GitLab; `nobody` forbids it to all.
Who = Literal["read", "write", "maintain", "admin", "nobody"]


class Rights(Model):
    """The least role that each command takes."""

    run: Who = Field("write", description="for /run, /sweep, /compare, /status, /monitor and /help")
    submit: Who = Field("write", description="for /submit and /build_run")
    stop: Who = Field("write", description="for /stop")
    approve: Who = Field("maintain", description="for /approve, after which a fork's commit may be run")
    deploy: dict[Name, Who] = Field(
        {"staging": "write", "production": "maintain"},
        description="for deployments and /rollback, by stage; one that is not named takes `maintain`",
    )


class Chatops(Model):
    """Commands in comments on merge requests; what counts is the file on the branch that is merged into."""

    rights: Rights = Field(Rights(), description="the least role that each command takes")
    merge: Literal["never", "when deployed"] = Field(
        "never", description="whether a request is merged once /deploy has its model in production"
    )
    limit: int = Field(20, ge=1, le=1000, description="comments with commands of one person in an hour")
