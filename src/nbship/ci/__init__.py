"""Forges and their CI: one protocol of what one can do (`forge`), and a module for each that does it.

How a run is worded for people is not decided here.
"""

from collections.abc import Mapping

from nbship.ci.forge import (
    ROLES,
    SKIP_CI,
    Discussion,
    Forge,
    Job,
    MergeRequest,
    Note,
    Project,
    Role,
    RunState,
    Standing,
)
from nbship.ci.github import GITHUB
from nbship.ci.gitlab import GITLAB

__all__ = [
    "FORGES",
    "ROLES",
    "SKIP_CI",
    "Discussion",
    "Forge",
    "Job",
    "MergeRequest",
    "Note",
    "Project",
    "Role",
    "RunState",
    "Standing",
    "current_job",
    "find_forge",
]

# The first is taken where nothing tells.
FORGES: tuple[Forge, ...] = (GITLAB, GITHUB)


def current_job(environment: Mapping[str, str]) -> Job:
    """Returns the CI job that the environment tells of; an empty one outside of CI."""
    return next(filter(None, (forge.job(environment) for forge in FORGES)), Job())


def find_forge(environment: Mapping[str, str]) -> Forge:
    """Returns the forge whose job this is, or else whose token is set."""
    by_job = (forge for forge in FORGES if forge.job(environment))
    by_token = (forge for forge in FORGES if environment.get(forge.token))
    return next(by_job, None) or next(by_token, FORGES[0])
