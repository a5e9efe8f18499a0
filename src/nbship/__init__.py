"""nbship ships notebooks to production: one graph of step notebooks, run here or on Kubeflow."""

__version__ = "0.1.0"
