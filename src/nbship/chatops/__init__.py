"""Commands in comments on merge requests: read, checked against rights, worked, answered.

A face of the product, as the command line is: it parses, calls `workflow`, and shows. What a forge can do is
the business of `ci`; what a command does is that of `workflow`.
"""
