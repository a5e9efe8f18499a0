"""Who may do what: by the role that the forge gives a person, and by `nbship.yaml` of the branch merged into.

Pure; nobody is asked here.
"""

from __future__ import annotations

from nbship.ci import ROLES, Role
from nbship.config.chatops import Chatops, Who

# For stages that nbship.yaml does not name.
_OTHERS: Who = "maintain"


def needed(settings: Chatops, right: str, stage: str = "") -> Who:
    """Returns the least role for a command.

    Args:
        settings: Of the branch that is merged into.
        right: A field of `config.chatops.Rights`.
        stage: Where it deploys, for the right `deploy`.
    """
    if right == "deploy":
        return settings.rights.deploy.get(stage, _OTHERS)
    found: Who = getattr(settings.rights, right)
    return found


def may(role: Role, least: Who) -> bool:
    """Returns whether a role is at least another; nobody may what is for `nobody`."""
    return least != "nobody" and ROLES.index(role) >= ROLES.index(least)
