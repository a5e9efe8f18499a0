"""Data and model versions: DVC keeps the bytes, Git the history, GTO's tags the names."""
