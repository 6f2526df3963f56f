"""The functions that a filter may call, and an upper bound of what its expressions produce.

Allowed are functions whose result depends on their arguments alone, and whose time and memory grow
with the row. Left out are those that read the clock or the machine, produce much from little
(`repeat`, `range`), take quadratic time (`levenshtein`), or take functions as arguments. Where an
argument decides how much a function produces, it must be a constant, which is checked here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

__all__ = [
    "DISTANCES",
    "FUNCTIONS",
    "MAX_STATES",
    "PASSING",
    "arguments",
    "cost",
    "objection",
]

#: States that a regular expression may have: matching may take states times characters.
MAX_STATES = 250
#: Characters to which one call may pad a text.
_MAX_PAD = 10_000
#: Characters of a constant that count as much as one value of a row.
_ROW = 100


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: The allowed functions, by subject.
FUNCTIONS: Mapping[str, frozenset[str]] = {
    "operators": _words(
        "+ - * / // % ** ^ & | << >> ~ @ || ^@ ~~ !~~ ~~* !~~* ~~~ ->> && @> <@ <-> <=>"
    ),
    "numbers": _words(
        """abs acos acosh add asin asinh atan atan2 atanh bit_count cbrt ceil ceiling cos cosh cot
        degrees divide even exp factorial fdiv floor fmod gamma gcd greatest_common_divisor
        isfinite isinf isnan lcm least_common_multiple lgamma ln log log10 log2 mod multiply pi pow
        power radians round round_even roundbankers sign signbit sin sinh sqrt subtract tan tanh
        trunc xor"""
    ),
    "choices": _words("greatest if least nullif"),
    "texts": _words(
        """ascii bit_length char_length character_length chr concat concat_ws contains ends_with
        hamming hash ilike_escape instr jaccard lcase left left_grapheme len length length_grapheme
        like_escape lower lpad ltrim md5 mismatches nfc_normalize not_ilike_escape not_like_escape
        octet_length ord overlay parse_dirname parse_dirpath parse_filename parse_path position
        prefix regexp_extract regexp_full_match regexp_matches regexp_replace replace reverse right
        right_grapheme rpad rtrim sha1 sha256 split split_part starts_with str_split string_split
        string_to_array strip_accents strlen strpos substr substring substring_grapheme suffix
        translate trim typeof ucase unicode upper"""
    ),
    "dates": _words(
        """century date_add date_diff date_part date_sub date_trunc datediff datepart datesub
        datetrunc day dayname dayofmonth dayofweek dayofyear days_in_month decade epoch epoch_ms
        epoch_ns epoch_us era hour isodow isoyear julian last_day make_date make_time
        make_timestamp make_timestamp_ms make_timestamp_ns microsecond millennium millisecond
        minute month monthname nanosecond quarter second strftime strptime time_bucket timezone
        to_centuries to_days to_decades to_hours to_microseconds to_millennia to_milliseconds
        to_minutes to_months to_quarters to_seconds to_timestamp to_weeks to_years try_strptime
        week weekday weekofyear year yearweek"""
    ),
    "lists": _words(
        """array_append array_cat array_concat array_contains array_cosine_distance
        array_cosine_similarity array_distance array_distinct array_dot_product array_extract
        array_has array_has_all array_has_any array_indexof array_inner_product array_intersect
        array_length array_negative_dot_product array_negative_inner_product array_pop_back
        array_pop_front array_position array_prepend array_push_back array_push_front array_reverse
        array_reverse_sort array_slice array_sort array_to_string array_unique array_value
        cardinality flatten list_any_value list_append list_avg list_bit_and list_bit_or
        list_bit_xor list_bool_and list_bool_or list_cat list_concat list_contains
        list_cosine_distance list_cosine_similarity list_count list_distance list_distinct
        list_dot_product list_element list_entropy list_extract list_first list_has list_has_all
        list_has_any list_indexof list_inner_product list_intersect list_kurtosis
        list_kurtosis_pop list_last list_mad list_max list_median list_min list_mode
        list_negative_dot_product list_negative_inner_product list_pack list_position list_prepend
        list_product list_reverse list_reverse_sort list_sem list_skewness list_slice list_sort
        list_stddev_pop list_stddev_samp list_sum list_unique list_value list_var_pop
        list_var_samp"""
    ),
    "structs and maps": _words(
        """element_at map map_contains map_entries map_extract map_extract_value map_keys map_values
        row struct_extract struct_extract_at struct_pack"""
    ),
    "JSON": _words(
        """json_array_length json_exists json_extract json_extract_path json_extract_path_text
        json_extract_string json_keys json_type json_valid json_value"""
    ),
}
_KNOWN = frozenset().union(*FUNCTIONS.values())

#: Distances of lists. What they say of a null in one list, they say of every list beside it.
DISTANCES = _words(
    """<-> <=> array_cosine_distance array_cosine_similarity array_distance array_dot_product
    array_inner_product array_negative_dot_product array_negative_inner_product
    list_cosine_distance list_cosine_similarity list_distance list_dot_product
    list_inner_product list_negative_dot_product list_negative_inner_product"""
)

#: Functions that return an argument or a part of one, and compute no new number.
PASSING = _words(
    """array_extract element_at greatest if least list_any_value list_element list_extract
    list_first list_last list_max list_min map_extract_value nullif struct_extract
    struct_extract_at"""
)

#: Functions that join their arguments into one text or list.
_ADDING = _words(
    """|| array_append array_cat array_concat array_prepend array_push_back array_push_front
    array_value concat concat_ws list_append list_cat list_concat list_pack list_prepend
    list_value map overlay regexp_replace row struct_pack"""
)
_PADDING = frozenset(["lpad", "rpad"])
#: Classes of nodes whose results take no memory to speak of.
_UNMADE = frozenset(["BETWEEN", "COLUMN_REF", "COMPARISON", "CONJUNCTION"])
_CONSTANT_PATTERN = _words("regexp_extract regexp_full_match regexp_matches regexp_replace")


def objection(call: Mapping[str, Any]) -> str | None:
    """Returns why a call in a syntax tree is refused, to follow "holds f(), which"; None if not."""
    name = call["function_name"].lower()
    if call["schema"] or call["catalog"]:
        return "must be called by its own name alone"
    if name not in _KNOWN:
        close = difflib.get_close_matches(name, _KNOWN, n=1, cutoff=0.8)
        alike = close and close[0][:3] == name[:3]
        return "filters do not have" + (f" ({close[0]}() they have)" if alike else "")
    given = arguments(call)
    if name in _CONSTANT_PATTERN:
        return _object_to_pattern(given)
    if name in _PADDING:
        number = _whole(given[1]) if len(given) > 1 else None
        allowed = number is not None and number <= _MAX_PAD
        return None if allowed else f"must have a constant length of at most {_MAX_PAD:,}"
    if name in ("strftime", "strptime", "try_strptime"):
        return None if len(given) > 1 and _is_constant(given[1]) else "must have a constant format"
    if name in _GROWTH and _growth(call) is None:
        return "must have constants for all but what it works on"
    return None


def arguments(call: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the arguments of a call in a syntax tree."""
    return [one["expression"] for one in call["arguments"]]


def cost(node: Mapping[str, Any]) -> int:
    """Returns an upper bound of what evaluating a syntax tree produces, in multiples of the row.

    Only texts and lists grow: by being joined, and by what `replace` and the like insert.
    """
    return _weigh(node)[1]


def _weigh(node: Mapping[str, Any]) -> tuple[int, int]:
    """Returns the size of a node's result, and the sum with those of all nodes below it."""
    if node["class"] == "CONSTANT":
        return len(node["literal"]["text"]) // _ROW, 0
    weighed = [_weigh(child) for child in _children(node)]
    size = max((size for size, _ in weighed), default=1)
    if node["class"] == "FUNCTION":
        name = node["function_name"].lower()
        if name in _ADDING:
            size = sum(size for size, _ in weighed)
        size *= _growth(node) or 1
        if name in _PADDING:
            size += (_whole(arguments(node)[1]) or 0) // _ROW
    size = max(1, size)
    made = 0 if node["class"] in _UNMADE else size
    return size, made + sum(total for _, total in weighed)


def _children(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    waiting: list[Any] = list(node.values())
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting.extend(one)
        elif isinstance(one, dict):
            if "class" not in one:
                waiting.extend(one.values())
            elif one["class"] != "TYPE":
                yield one


def _growth(call: Mapping[str, Any]) -> int | None:
    """Returns how many times as long as its arguments a call's result may be.

    None if that depends on values of the row.
    """
    measure = _GROWTH.get(call["function_name"].lower())
    return 1 if measure is None else measure(arguments(call))


def _replaced(given: Sequence[Mapping[str, Any]]) -> int | None:
    old, new = (_text(one) for one in given[1:3]) if len(given) == 3 else (None, None)
    if old is None or new is None:
        return None
    return max(1, -(-len(new.encode()) // max(1, len(old.encode()))))


def _separated(place: int) -> Callable[[Sequence[Mapping[str, Any]]], int | None]:
    def measure(given: Sequence[Mapping[str, Any]]) -> int | None:
        text = _text(given[place]) if len(given) > place else None
        return None if text is None else 1 + len(text.encode())

    return measure


_GROWTH: Mapping[str, Callable[[Sequence[Mapping[str, Any]]], int | None]] = {
    "array_to_string": _separated(1),
    "concat_ws": _separated(0),
    "replace": _replaced,
}


def _object_to_pattern(given: Sequence[Mapping[str, Any]]) -> str | None:
    pattern = _text(given[1]) if len(given) > 1 else None
    if pattern is None or not all(map(_is_constant, given[1:])):
        return "must have a pattern that is a constant text"
    if _states(pattern) > MAX_STATES:
        return f"must have a pattern of at most {MAX_STATES} characters, repetitions written out"
    texts = [_text(one) or "" for one in given[2:]]
    # With the option g of `regexp_replace`, some patterns scan the whole text from each position.
    if len(texts) == 2 and "g" in texts[1]:
        return "must do without the option 'g': its time may grow with the square of the text"
    if texts and len(re.findall(r"\\[0-9]", texts[0])) > 1:
        return "must name at most one group in what it puts in place"
    return None


_ATOM = re.compile(
    r"\\[pP]\{[^}]*\}|\\x\{[^}]*\}|\\Q.*?(?:\\E|$)|\\.|\[\^?\]?(?:\\.|\[:\w+:\]|[^\]])*\]|."
    r"|\n",
)
_TIMES = re.compile(r"\{(\d+)(?:,(\d*))?\}")


def _states(pattern: str) -> int:
    """Returns about how many characters a regular expression has, once `{n,m}` is expanded.

    >>> _states(r"(ab|[^c]{2}){3}x*")
    13
    """
    # States of each open group so far, and of the last atom.
    totals, last, place = [0], 0, 0
    while place < len(pattern):
        if times := _TIMES.match(pattern, place):
            repeated = last * max(1, int(times[2] or 0), int(times[1]))
            totals[-1] += repeated - last
            last, place = repeated, times.end()
            continue
        atom = _ATOM.match(pattern, place)
        text = atom[0] if atom else pattern[place]
        place += len(text)
        if text == "(":
            totals.append(0)
        elif text == ")" and len(totals) > 1:
            last = totals.pop()
            totals[-1] += last
        elif text not in ("*", "+", "?"):
            last = 0 if text == "|" else len(text) if text.startswith("\\Q") else 1
            totals[-1] += last
    return sum(totals)


def _is_constant(node: Mapping[str, Any]) -> bool:
    """Returns whether a node is a constant, or a list of constants."""
    if node.get("function_name") == "list_value":
        return all(map(_is_constant, arguments(node)))
    return "literal" in node


def _text(node: Mapping[str, Any]) -> str | None:
    literal = node.get("literal")
    return literal["text"] if literal and literal["kind"] == "STRING" else None


def _whole(node: Mapping[str, Any]) -> int | None:
    literal = node.get("literal")
    return int(literal["text"]) if literal and literal["kind"] == "INTEGER" else None
