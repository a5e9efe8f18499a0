"""What will bite later in a notebook: hidden state, undeclared files, missing seeds, secrets, leftovers.

Reads notebooks as text and as syntax trees; nothing is run. Style is the business of a linter for Python.
"""

from nbship.linting.check import check_notebook
from nbship.linting.environment import require_modules
from nbship.linting.finding import RULES, LintFinding
from nbship.linting.fix import fix_notebook

__all__ = ["RULES", "LintFinding", "check_notebook", "fix_notebook", "require_modules"]
