"""What people look at: the picture of a graph, the page of a run and of a sweep, numbers as text."""
