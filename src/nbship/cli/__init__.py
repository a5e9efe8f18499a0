"""The terminal's face of nbship: parses, calls `workflow`, prints. Decides nothing."""
