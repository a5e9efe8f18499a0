"""One model behind several servers, and without one: how many requests each answers."""
