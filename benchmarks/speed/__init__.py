"""Measures speed, memory and requests of exports, and of what they are made of."""
