"""Runs a graph on this machine: order, warm kernels, cache, and the page that shows a run."""
