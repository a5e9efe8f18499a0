"""One notebook into the steps of a pipeline: reads its code, proposes where to cut, writes what follows.

Pure: it runs nothing and knows nothing of the disk but the notebook it is given. What only running tells,
such as the type of a variable, comes in as facts.
"""
