"""Kubeflow Pipelines: what it takes to run there the graph that runs here."""
