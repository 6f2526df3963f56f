"""Beam with what it works out again and again for each step of a pipeline kept: the same, sooner.

A run of seven images spends two thirds of its time there. Commands that tests start have Beam as
it is.
"""

from __future__ import annotations

import bz2
from typing import Any

import pytest
from apache_beam.internal import cloudpickle_pickler
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.worker import statecache
from apache_beam.transforms import core, userstate

__all__ = ["make_quick"]


def make_quick(patch: pytest.MonkeyPatch) -> None:
    """Patches Beam in this process."""
    patch.setattr(userstate, "get_dofn_specs", by_class(userstate.get_dofn_specs))
    patch.setattr(core, "get_signature", by_function(core.get_signature))
    patch.setattr(PipelineOptions, "view_as", by_flags(PipelineOptions.view_as))
    # A format that any worker reads, with a tenth of the memory to fill for some hundred bytes.
    patch.setattr(cloudpickle_pickler, "bz2", QuickBz2)
    # Weighs a cached value by all that it leads to, after a look at every module's globals.
    patch.setattr(statecache, "get_deep_size", lambda *values: 1024)


class QuickBz2:
    """Compresses what is pickled, as Beam does, and with the least effort."""

    decompress = staticmethod(bz2.decompress)

    @staticmethod
    def compress(data: bytes, compresslevel: int = 9) -> bytes:
        return bz2.compress(data, 1)


def by_class(look: Any) -> Any:
    """Keeps the states of a DoFn's class, which are parameters of its methods."""
    found: dict[type, Any] = {}

    def look_once(dofn: Any) -> Any:
        kind = type(dofn)
        if kind not in found:
            found[kind] = look(dofn)
        return found[kind]

    return look_once


def by_function(look: Any) -> Any:
    """Keeps the signature of a function that a module or class has; others come once anyway."""
    found: dict[Any, Any] = {}

    def look_once(function: Any) -> Any:
        if "<locals>" in getattr(function, "__qualname__", "<locals>"):
            return look(function)
        # A method is made anew each time that it is asked for; what it is made of stays.
        key = getattr(function, "__func__", function), hasattr(function, "__self__")
        if key not in found:
            found[key] = look(function)
        return found[key]

    return look_once


def by_flags(view_as: Any) -> Any:
    """Keeps what the same flags say to the same kind of options: a parser is made for each view."""
    found: dict[Any, Any] = {}

    def view_once(self: PipelineOptions, kind: type[PipelineOptions]) -> PipelineOptions:
        if self._flags is None:  # those of the process, which may change
            return view_as(self, kind)
        key = kind, tuple(self._flags)
        if key not in found:
            first = kind(self._flags)
            found[key] = first._visible_options, first._visible_option_list()
        visible, names = found[key]
        for name in names:
            if name not in self._all_options:
                value = getattr(visible, name)
                # A list is the options' own: they may add to it.
                self._all_options[name] = [*value] if isinstance(value, list) else value
        view = object.__new__(kind)
        shared = {"_flags": self._flags, "_all_options": self._all_options}
        view.__dict__.update(shared, _visible_options=visible)
        return view

    return view_once
