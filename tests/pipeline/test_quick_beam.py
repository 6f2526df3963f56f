"""What tests keep of Beam's work is what Beam would work out again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from apache_beam import DoFn
from apache_beam.options.pipeline_options import (
    DebugOptions,
    DirectOptions,
    PipelineOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.transforms.core import _check_fn_use_yield_and_return
from apache_beam.typehints.decorators import get_signature
from support.quick_beam import QuickBz2, but_for_empty, by_code, by_flags, by_function

KINDS = [DebugOptions, DirectOptions, StandardOptions, WorkerOptions]
FLAGS = ["--direct_num_workers=3", "--experiments=a", "--experiments=b", "--streaming"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, Any], Any]:
    quick = by_flags(PipelineOptions.view_as)
    monkeypatch.setattr(PipelineOptions, "view_as", quick)
    return quick


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("quick")
def test_a_view_says_what_the_flags_say(kind: type[PipelineOptions]) -> None:
    for _ in range(2):
        view, made = PipelineOptions(FLAGS).view_as(kind), kind(FLAGS)
        assert type(view) is kind
        assert view._visible_option_list() == made._visible_option_list()
        for name in made._visible_option_list():
            assert getattr(view, name) == getattr(made, name)


@pytest.mark.usefixtures("quick")
def test_views_of_the_same_options_share_what_is_set_and_no_others_see_it() -> None:
    options, others = PipelineOptions(FLAGS), PipelineOptions(FLAGS)
    options.view_as(DirectOptions).direct_num_workers = 7
    options.view_as(DebugOptions).experiments.append("c")
    assert options.view_as(DirectOptions).direct_num_workers == 7
    assert options.view_as(DebugOptions).experiments == ["a", "b", "c"]
    assert others.view_as(DirectOptions).direct_num_workers == 3
    assert others.view_as(DebugOptions).experiments == ["a", "b"]


class Work(DoFn):
    def process(self, element: int, by: int = 2) -> list[int]:
        return [element * by]


def test_a_method_and_the_function_that_it_is_made_of_have_their_own_signatures() -> None:
    quick = by_function(get_signature)
    for _ in range(2):
        for function in (Work.process, Work().process, lambda a: a, len, Work):
            assert quick(function) == get_signature(function)


def test_functions_made_in_one_place_have_the_signatures_of_what_they_carry() -> None:
    quick = by_function(get_signature)
    for value in (1, 2, 1):
        for function in (lambda a, b=value: a, lambda a, *, b=value: a, lambda c: c):
            assert quick(function) == get_signature(function)


def test_what_a_source_does_is_asked_once_for_each_source() -> None:
    def both(element: int) -> Any:
        yield element
        return [element]

    def neither(element: int) -> None:
        del element

    asked = []

    def look(function: Any) -> bool:
        asked.append(function)
        return _check_fn_use_yield_and_return(function)

    quick = by_code(look)
    assert [quick(one) for one in (both, neither, both, neither)] == [True, False, True, False]
    assert asked == [both, neither]


def test_values_that_are_pickled_come_back() -> None:
    quick = but_for_empty(lambda value: ("copied", value))
    assert [quick(one) for one in ((), {}, (1,), {"a": ()})] == [
        (),
        {},
        ("copied", (1,)),
        ("copied", {"a": ()}),
    ]
    for data in (b"a" * 999, b"b", b"a" * 999):
        assert QuickBz2.decompress(QuickBz2.compress(data)) == data
