"""What a served model was asked and answered: kept as Parquet, joined with what came true, and judged.

Not for serving: a server hands over what it answered, or KServe's logger does.
"""
