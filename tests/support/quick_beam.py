"""Beam with what it works out again and again for each step of a pipeline kept: the same, sooner.

A run of seven images spends two thirds of its time there. Commands that tests start have Beam as
it is.
"""

from __future__ import annotations

import bz2
import functools
from types import FunctionType
from typing import Any

import pytest
from apache_beam.internal import cloudpickle_pickler
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.worker import statecache
from apache_beam.runners.worker.bundle_processor import BundleProcessor
from apache_beam.transforms import core, userstate
from apache_beam.typehints.decorators import IOTypeHints

__all__ = ["make_quick"]


def make_quick(patch: pytest.MonkeyPatch) -> None:
    """Patches Beam in this process."""
    patch.setattr(userstate, "get_dofn_specs", by_class(userstate.get_dofn_specs))
    patch.setattr(core, "get_signature", by_function(core.get_signature))
    arguments = by_function(core.get_function_args_defaults)
    patch.setattr(core, "get_function_args_defaults", arguments)
    hints = by_function(IOTypeHints.from_callable)
    patch.setattr(IOTypeHints, "from_callable", staticmethod(hints))
    # Where in a source file each hint was given, which only the texts of errors in hints say.
    patch.setattr(IOTypeHints, "_make_origin", lambda *bases, **more: [])
    check = by_code(core._check_fn_use_yield_and_return)
    patch.setattr(core, "_check_fn_use_yield_and_return", check)
    patch.setattr(cloudpickle_pickler, "roundtrip", but_for_empty(cloudpickle_pickler.roundtrip))
    patch.setattr(PipelineOptions, "view_as", by_flags(PipelineOptions.view_as))
    # A format that any worker reads, with a tenth of the memory to fill for some hundred bytes.
    patch.setattr(cloudpickle_pickler, "bz2", QuickBz2)
    patch.setattr(BundleProcessor, "monitoring_infos", own_metrics)
    # Weighs a cached value by all that it leads to, after a look at every module's globals.
    patch.setattr(statecache, "get_deep_size", lambda *values: 1024)


class QuickBz2:
    """Compresses what is pickled, as Beam does, and with the least effort."""

    decompress = staticmethod(bz2.decompress)

    @staticmethod
    @functools.lru_cache(4096)  # Most of what a pipeline's steps know is the same in each.
    def compress(data: bytes, compresslevel: int = 9) -> bytes:
        return bz2.compress(data, 1)


def own_metrics(self: BundleProcessor) -> list[Any]:
    """Returns the counters of a bundle's steps, without Beam's: nothing here asks for those."""
    found: dict[Any, Any] = {}
    for transform, step in self.ops.items():
        found.update(step.user_monitoring_infos(transform))
    return list(found.values())


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
    """Keeps the signature of a function, but for one made in another that carries values."""
    found: dict[Any, Any] = {}

    def look_once(function: Any) -> Any:
        if "<locals>" not in getattr(function, "__qualname__", "<locals>"):
            # A method is made anew each time that it is asked for; what it is made of stays.
            key = getattr(function, "__func__", function), hasattr(function, "__self__")
        elif isinstance(function, FunctionType) and not _carried(function):
            key = function.__code__, False
        else:
            return look(function)
        if key not in found:
            found[key] = look(function)
        return found[key]

    return look_once


def _carried(function: FunctionType) -> bool:
    """Returns whether a signature may hold more than the function's source."""
    values = function.__defaults__, function.__kwdefaults__
    return any((*values, function.__annotations__, function.__dict__))


def by_code(look: Any) -> Any:
    """Keeps what follows from a function's source alone."""
    found: dict[Any, Any] = {}

    def look_once(function: Any) -> Any:
        code = getattr(function, "__code__", None)
        if code is None:
            return look(function)
        key = code.co_filename, code
        if key not in found:
            found[key] = look(function)
        return found[key]

    return look_once


def but_for_empty(roundtrip: Any) -> Any:
    """Spares what holds nothing: most steps have no arguments, and are asked for both kinds."""
    return lambda value: value if value in ((), {}, []) else roundtrip(value)


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
