"""The model server of a container: that of `serving`, which keeps records where its environment says so.

usage: python -m nbship.workflow.incluster.server --model_name NAME --model_dir /mnt/models
"""

from __future__ import annotations

import os

from nbship.serving import server
from nbship.serving.settings import OpenLog


def log_of(name: str) -> OpenLog | None:
    """Returns what opens the log of a model; None, and nothing is imported, if none is to be kept."""
    if not any(variable.startswith("NBSHIP_RECORDS_") for variable in os.environ):
        return None
    from nbship.workflow import records

    return records.log_of(os.environ, name)


if __name__ == "__main__":
    server.run(log_of)
