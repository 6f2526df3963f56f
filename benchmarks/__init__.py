"""Measures the speed and tries the robustness of the package, from outside; no part of it."""
