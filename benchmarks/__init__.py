"""Measures nbship beside other ways of running the same notebooks; see README.md. Not part of the package."""
