from typing import Any

from nbship.jupyter.commands import compare as compare
from nbship.jupyter.commands import compile as compile  # noqa: A004
from nbship.jupyter.commands import lint as lint
from nbship.jupyter.commands import open as open  # noqa: A004
from nbship.jupyter.commands import run as run
from nbship.jupyter.commands import runs as runs
from nbship.jupyter.commands import show as show
from nbship.jupyter.commands import split as split
from nbship.jupyter.commands import sweep as sweep
from nbship.jupyter.models import load_model as load_model
from nbship.jupyter.models import models as models
from nbship.jupyter.models import publish as publish
from nbship.jupyter.models import submit as submit
from nbship.jupyter.run import Run as Run

__version__: str

def load_ipython_extension(shell: Any) -> None: ...
