"""Tries exports under faults, damages, hostile inputs and changes of the code."""
