"""Forges, which show what runs did where the code is reviewed. What is written there is not decided here."""
