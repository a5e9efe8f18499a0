"""How many findings of `nbship lint` on public notebooks are true, rule by rule."""
