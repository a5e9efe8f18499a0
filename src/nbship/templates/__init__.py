"""What `nbship new` writes: notebooks and a pipeline file that fit a table.

Looks at a table and renders texts. Neither writes files nor runs anything; what it renders is a start that a
data scientist goes on from, not a search for the best model.
"""
