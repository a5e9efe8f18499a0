"""The terminal's face of nbship: parses, calls `workflow`, prints. Decides nothing.

Importing it sets this process up for a command, before the libraries that a command needs are imported.
"""

import gc
import sys

# Imports make hundreds of thousands of objects and no garbage; looking for it costs a fifth of their time.
gc.set_threshold(100_000, 50, 100)
# An optional dependency of jsonschema that takes a second to import, to check addresses. Notebooks have none
# to check, and jsonschema does without it.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
