"""What of the project's own code a step uses: modules, and files that the code reads by name.

Found in the source alone; nothing is imported or run. The cache, the compiled pipeline and the search for
changed pipelines all ask here, so what counts as a step's code is what travels with it. How it travels is
not decided here.
"""

from nbship.own_code.closure import CodeProblem, OwnCode, own_code, require_portable, step_code
from nbship.own_code.modules import find, python_path

__all__ = ["CodeProblem", "OwnCode", "find", "own_code", "python_path", "require_portable", "step_code"]
