"""The commands as Python functions, for cells and scripts: they call `workflow`, and show what comes back.

`nbship` itself hands them on, each imported when it is first used. Not for what a command does.
"""
