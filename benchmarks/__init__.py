"""Speed measured, and robustness tried, on the package from outside; no part of it."""
