"""Kernels for Jupyter and papermill that start in milliseconds. Knows nothing of pipelines and runs."""
