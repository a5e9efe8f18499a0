"""Models as they are served: the model package that is published, read and loaded."""
