"""Runs a graph on this machine: order, cache, execution of a notebook, and what it writes."""
