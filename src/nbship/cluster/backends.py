"""Where a version's own servers are asked, whoever has the traffic: Services with its pods behind them.

They are asked through the Kubernetes API, whose proxy takes only pods of a Service's own namespace. Knows
names, and sends nothing; that is for `kserve` and `services`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

_LABEL = 63
_HASH = 32
KNATIVE, ACTIVATOR = "knative-serving", "activator-service"


@dataclass(frozen=True)
class Backend:
    """A Service of the cluster, which is asked through the Kubernetes API.

    Attributes:
        service: Its name.
        headers: What it needs to know, such as which of Knative's revisions is meant.
        namespace: Where it is; the stage's if empty.
        waker: What starts a server where `service` has none, and passes requests on; None if nothing does.
    """

    service: str
    headers: tuple[tuple[str, str], ...] = ()
    namespace: str = ""
    waker: Backend | None = None


def revision_backend(namespace: str, revision: str) -> Backend:
    """Returns where one of Knative's revisions is asked.

    Its public Service has the activator behind it by default (`target-burst-capacity`), a pod of another
    namespace, which the proxy refuses. Its private Service has its own pods; while the revision sleeps it has
    none, and the activator, asked in its own namespace, wakes the one that the headers name.
    """
    named = (("Knative-Serving-Namespace", namespace), ("Knative-Serving-Revision", revision))
    return Backend(_child(revision, "-private"), waker=Backend(ACTIVATOR, named, KNATIVE))


def _child(parent: str, suffix: str) -> str:
    """Names what belongs to something, as Knative's `kmeta.ChildName` does: what is too long has its hash."""
    if len(parent) + len(suffix) > _LABEL:
        digest = hashlib.md5(parent.encode(), usedforsecurity=False).hexdigest()
        parent = parent[: _LABEL - _HASH - len(suffix)] + digest
    return parent + suffix
