"""Checks of exports: what `beam-export verify` finds, on file objects and without Beam."""

from __future__ import annotations

from beam_export.verify.faults import Fault

__all__ = ["Fault"]
