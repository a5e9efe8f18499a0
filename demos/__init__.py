"""Stories that show the product at work on real parts, on one machine: `make demo-drift`."""
