"""How fast things are, and what they cost in memory and requests."""
