"""Filters that are refused, before a row is read or on one: each in one sentence."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest
from support.filter_rows import ROWS, TYPES, kept

from beam_export.errors import InputError
from beam_export.metadata import filter as filter_module
from beam_export.metadata import sql
from beam_export.metadata.filter import Filter


@pytest.fixture(autouse=True, scope="module")
def _one_database() -> Iterator[None]:
    """Opens one database for all filters: opening it takes ten times as long as evaluating one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filter_module, "connect", functools.cache(sql.connect))
        yield


#: Said before any row is looked at.
REFUSED = [
    ("score = 'nan'", "compares FLOAT with text"),
    ("score < 'nan'", "compares FLOAT with text"),
    ("score < 'inf'", "compares FLOAT with text"),
    ("score in ('nan', 0.5)", "compares FLOAT with text"),
    ("score between 0 and 'inf'", "compares FLOAT with text"),
    ("score < '1e999'", "compares FLOAT with text"),
    ("day < 'infinity'", "compares TIMESTAMP WITH TIME ZONE with text"),
    ("date < 'infinity'", "compares DATE with text"),
    ("date > '-infinity'", "compares DATE with text"),
    ("make_date(2024, 13, 1) = date", "Date out of range"),
    ("1 << 100 > 0", "Left-shift value 100 is out of range"),
    ("factorial(100) > 1", "Value out of range"),
    ("i = 'x'", "Could not convert string 'x' to INT32"),
    ("score", "is of type float"),
    ("1", "is of type int32"),
    ("'x'", "is of type string"),
    ("null", "is of type null"),
    ("score;", 'syntax error at or near ";"'),
    ("score > 0.5;", 'syntax error at or near ";"'),
    ("score > 0.5; select 1", 'syntax error at or near ";"'),
    (";", 'syntax error at or near ";"'),
    ("/* */", "is no expression"),
    ("--", "is no expression"),
    ("/* score > 0.5", 'unterminated /* comment at or near "/* score > 0.5'),
    ("score > 0.5 /*", 'unterminated /* comment at or near "/*'),
    ("score > 0.9, i > 100", "neither true nor false: put and, or or, between conditions."),
    ("score = NaN", "names 'NaN' (NaN counts as null, and isinf()"),
    ("score > 0.9), (true", "holds more than one expression"),
    ("1) from t where (1", "holds more than one expression"),
    ("1) union select (true", "holds more than one expression"),
    ("1) order by (1", "holds more than one expression"),
    ("1) limit (1", "holds more than one expression"),
    ("score > 0.5 as x", 'syntax error at or near "as"'),
    ("i = 0x1F", 'syntax error at or near "x1F"'),
    ("i = 0b11", 'syntax error at or near "b11"'),
    ("score > 0.5f", 'syntax error at or near "f"'),
    ("score >> 0.5", "No function matches the given name and argument types '>>(FLOAT"),
    ("score => 0.5", "holds =>"),
    ("score =< 0.5", "holds =<"),
    ("score && ok", "No function matches the given name and argument types '&&(FLOAT"),
    ("ok || true", "is of type string"),
    ("!ok", "holds !"),
    ("ok and", 'syntax error at or near ")"'),
    ("(score > 0.5", 'syntax error at or near ")"'),
    ("score > 0.5)", 'syntax error at or near ")"'),
    ('caption = "a cat"', "names 'a cat'"),
    ("caption = 'a cat", "unterminated string literal"),
    ("select = 1", 'syntax error at or near "="'),
    ("my col = 1", 'syntax error at or near "col"'),
    ("sCORE > 1", "names 'sCORE'"),
    ("meta.z > 1", 'Could not find key "z" in struct'),
    ("meta.x = 'inf'", "compares DOUBLE with text"),
    ("meta > {'x':1.0,'t':'a'}", "holds a comparison of STRUCT(x DOUBLE"),
    ("meta = {'x':1.5,'t':'a'}", "holds a comparison of STRUCT(x DOUBLE"),
    ("(score, i) > (0.1, 0)", "holds a comparison of TUPLE(FLOAT"),
    ("(score, i) = (0.5, 1)", "holds a comparison of TUPLE(FLOAT"),
    ("attrs = map{'k':1.0}", "holds a comparison of MAP(VARCHAR"),
    ("current_date > day", "names 'current_date' (which would not be the same at any time)"),
    ("current_timestamp > day", "names 'current_timestamp'"),
    ("now() > day", "holds now("),
    ("today() > date", "holds today("),
    ("localtimestamp > day", "names 'localtimestamp'"),
    ("get_current_timestamp() > day", "holds get_current_timestamp("),
    ("random() > 0.5", "holds random("),
    ("uuid() = 'x'", "holds uuid("),
    ("gen_random_uuid() is null", "holds gen_random_uuid("),
    ("setseed(0.5) is null", "holds setseed("),
    ("current_user = 'x'", "names 'current_user'"),
    ("user() = 'x'", "holds user("),
    ("session_user = 'x'", "names 'session_user'"),
    ("version() = 'x'", "holds version("),
    ("current_setting('threads') = '1'", "holds current_setting("),
    ("getenv('HOME') = 'x'", "holds getenv("),
    ("getvariable('x') = 1", "holds getvariable("),
    ("nextval('s') = 1", "holds nextval("),
    ("read_text('/etc/passwd') = 'x'", "holds read_text("),
    ("read_csv('x') = 1", "holds read_csv("),
    ("i in (select 1)", "holds a subquery"),
    ("exists (select 1)", "holds a subquery"),
    ("(select max(score) from t) > 0", "holds a subquery"),
    ("sum(score) > 1", "holds sum("),
    ("count(*) > 1", "holds count_star("),
    ("avg(score) over () > 1", "holds a window"),
    ("row_number() over () > 1", "holds a window"),
    ("rank() > 1", "holds rank("),
    ("list_filter(vec, lambda x: x > 0)[1] > 0", "holds list_filter("),
    ("list_transform(vec, x -> x + 1)[1] > 0", "holds list_transform("),
    ("[x for x in vec if x > 0][1] > 0", "holds list_apply("),
    ("list_reduce(vec, lambda a, b: a + b) > 0", "holds list_reduce("),
    ("unnest(vec) > 0", "holds unnest("),
    ("generate_series(1, 100000000)[1] = 1", "holds generate_series("),
    ("range(1000000000)[1] = 0", "holds range("),
    ("len(range(1000000000)) > 0", "holds range("),
    ("repeat('x', 1000000000) = 'x'", "holds repeat("),
    ("repeat(caption, 1000000000) = 'x'", "holds repeat("),
    ("lpad(caption, 1000000000, 'x') = 'x'", "holds lpad("),
    ("lpad(caption, i, '0') = '00012'", "holds lpad("),
    ("rpad('x', 2147483647, 'y') = 'x'", "holds rpad("),
    ("list_resize(vec, 1000000000)[1] > 0", "holds list_resize("),
    ("array_resize(vec, 1000000000)[1] > 0", "holds array_resize("),
    ("format('{:1000000000d}', i) = 'x'", "holds format("),
    ("printf('%1000000000d', i) = 'x'", "holds printf("),
    ("bar(i, 0, 10, 1000000000) = 'x'", "holds bar("),
    (
        f"replace(replace(caption, 'a', '{'a' * 40}'), 'a', '{'a' * 40}') = 'x'",
        "has texts or lists of 1640 times what a row brings",
    ),
    ("replace(caption, 'a', caption) = 'x'", "holds replace("),
    ("hex(caption) = 'x'", "holds hex("),
    ("array_to_string(tags, caption) = 'b,c'", "holds array_to_string("),
    ("concat_ws(caption, caption, split) = 'a cat-train'", "holds concat_ws("),
    ("regexp_matches(caption, caption)", "holds regexp_matches("),
    ("regexp_matches(caption, '(((a{100}){100}){100}){10}')", "holds regexp_matches("),
    ("regexp_matches(caption, '(x{1000}){2}')", "holds regexp_matches("),
    ("regexp_matches(caption, 'x{1001}')", "holds regexp_matches("),
    ("regexp_matches(caption, '(')", "missing"),
    ("regexp_replace(caption, '[aeiou]', '', 'g') = ' ct'", "holds regexp_replace("),
    ("regexp_replace(caption, '(a)', '\\1\\1') = 'aa cat'", "holds regexp_replace("),
    ("regexp_extract_all(caption, 'a')[1] = 'a'", "holds regexp_extract_all("),
    ("levenshtein(caption, 'a cat') < 2", "holds levenshtein("),
    ("lenght(caption) > 3", "holds lenght("),
    ("sha256(image_id) < '8'", "names 'image_id'"),
    ("list_contains(vec, 'nan')", "Cannot deduce template type 'T' in function"),
    ("tags > ['a']", "holds a comparison of VARCHAR[] as a whole"),
    ("vec = [1.0, 0.0]", "holds a comparison of FLOAT[] as a whole"),
    ("vec > [0.5]", "holds a comparison of FLOAT[] as a whole"),
    ("list_aggregate(vec, 'sum') > 0", "holds list_aggregate("),
    ("emb::double[] = [1.0, 0.0]", "holds a comparison of DOUBLE[] as a whole"),
    ("tags::float[] = [1.0]", "holds a comparison of FLOAT[] as a whole"),
    ("'[nan]'::float[] = vec", "holds a comparison of FLOAT[] as a whole"),
    ("[caption]::varchar = 'x'", "holds a cast of VARCHAR[] to VARCHAR"),
    ("[caption]::json = 'x'", "holds a cast of VARCHAR[] to JSON"),
    ("meta::varchar = 'x'", "holds a cast of STRUCT(x DOUBLE"),
    ("meta::json = 'x'", "holds a cast of STRUCT(x DOUBLE"),
    ("concat({'a': caption}, '') = 'x'", "holds a text made of STRUCT(a VARCHAR"),
    ("concat_ws(',', [{'a': caption}]) = 'x'", "holds a text made of STRUCT(a VARCHAR)[]"),
    ("array_to_string([{'a': caption}], ',') = 'x'", "holds a text made of STRUCT(a VARCHAR)[]"),
    ("js->'$.x' = 1", "holds a lambda"),
    ("strftime(day, caption) = 'x'", "holds strftime("),
    ("age(day) > interval 1 day", "holds age("),
    ("caption > 5", "Cannot compare values of type VARCHAR and type INTEGER_LITERAL - an ex"),
    ("score = caption", "compares FLOAT with text"),
    ("lower(score) = 'x'", "No function matches the given name and argument types 'lower(FLOAT)'."),
    ("score > 'abc'", "Could not convert string 'abc' to FLOAT"),
    ("scor > 0.5", "names 'scor'"),
    ("score > $1", "holds a parameter"),
    ("score > ?", "holds a parameter"),
    ("*", "holds a star"),
    ("columns(*) > 1", "holds a star"),
    ("#1 > 0", "holds a positional reference"),
    ("rowid = 0", "names 'rowid'"),
    ("score ! 0", 'syntax error at or near "0"'),
    ("d between 0 and", 'syntax error at or near ")"'),
    (
        "coalesce(score, 'nan') > 0",
        "Cannot mix values of type FLOAT and VARCHAR in COALESCE operator - an",
    ),
    ("main.lower(caption) = 'a cat'", "holds lower("),
    ("system.main.lower(caption) = 'a cat'", "holds lower("),
    ("caption.lower() = 'a cat'", "holds lower("),
    ("lower(caption, 'x')", "No function matches the given name and argument types 'lower(VARCHAR"),
    ("sqrt(distinct d) > 1", 'Function "sqrt" is a Scalar Function. "DISTINCT"'),
    ("sqrt(d) filter (where ok) > 1", 'Function "sqrt" is a Scalar Function. "DISTINCT"'),
    ("cast(d as nothing) = 1", "Type with name nothing does not exist!"),
    ("caption::bit = 'x'", "Cannot cast empty string to BIT"),
    ("cast(caption as uuid) = 'x'", "Could not convert string 'x' to UUID"),
    ("cast('x' as struct(a int)) is null", "holds a cast of VARCHAR to STRUCT(a INTEGER"),
    ("error('x') is null", "holds error("),
    ("alias(score) = 'score'", "holds alias("),
    ("json_serialize_sql('select 1') = 'x'", "holds json_serialize_sql("),
    ("write_log('x') is null", "holds write_log("),
    ("score > 0.5 or error('x')", "holds error("),
    ("score <> caption", "compares FLOAT with text"),
    ("d in (caption, 1)", "compares DOUBLE with text"),
    ("date = caption", "compares DATE with text"),
    ("nullif(score, caption) > 0", "compares FLOAT with text"),
    ("case score when caption then true end", "compares FLOAT with text"),
    ("json_extract('{\"x\":1e999}', '$.x') > 0.5", "Failed to cast value to decimal"),
    ("json_extract('{\"x\":1}', '$.x') <> score", "compares FLOAT with text"),
    ("('{\"x\":0.5}'->>'$.x') = score", "compares FLOAT with text"),
    ("(meta.t || '') <> meta.x", "compares DOUBLE with text"),
    ("width / height > 1", "names 'height'"),
]

#: Said of a row.
FAILING = [
    (
        "cast(caption as double) > 1",
        "Could not convert string 'a cat' to DOUBLE when casting from source co",
    ),
    (
        "score::decimal(5,2) > 0.5",
        "Could not cast value inf to DECIMAL(5,2) when casting from source colu",
    ),
    ("d::int > 0", "Type DOUBLE with value inf can't be cast because the value is out of r"),
    ("day + interval '1000000 years' > day", "ICU date overflows timestamp range"),
    ("to_timestamp(d * 1e300) > day", "Epoch seconds out of range for TIMESTAMP WITH TIME ZONE"),
    (
        "make_date(d::int, 1, 1) > date",
        "Type DOUBLE with value inf can't be cast because the value is out of r",
    ),
    ("date + i > date", "Date out of range"),
    ("i * i > 0", "Overflow in multiplication of INT32"),
    ("abs(big) > 0", "Overflow on abs(-9223372036854775808)"),
    ("u * 100 > 3", "Overflow in multiplication of UINT8"),
    ("u::tinyint > 0", "Type UINT8 with value 255 can't be cast because the value is out of ra"),
    ("i << 40 > 0", "Left-shift value 40 is out of range"),
    ("i! > 1", "Value out of range"),
    ("factorial(i) > 1", "Value out of range"),
    ("list_cosine_similarity(vec, [1.0, 0.0]) > 0.5", "list_cosine_similarity"),
    ("js->>'$.x' = '1'", "Malformed JSON at byte 0 of input"),
    ("(js->>'$.x') = '1'", "Malformed JSON at byte 0 of input"),
    ("(js->>'$.x')::double > 0", "Malformed JSON at byte 0 of input"),
    ("try_cast(js->>'$.x' as double) > 0", "Malformed JSON at byte 0 of input"),
    (
        "json_valid(js) and json_extract_string(js, '$.x') = '1'",
        "Malformed JSON at byte 0 of input",
    ),
    ("json_extract(js, '$.x')::double > 0", "Malformed JSON at byte 0 of input"),
    (
        "case when json_valid(js) then json_extract(js, '$.x')::double > 0 end",
        "Failed to cast value to numerical",
    ),
    ("json_type(js) = 'OBJECT'", "Malformed JSON at byte 0 of input"),
    ("caption = 5", "Could not convert string 'a cat' to INT32 when casting from source col"),
    ("caption = 12", "Could not convert string 'a cat' to INT32 when casting from source col"),
    ("x'61' = caption", 'Invalid byte encountered in STRING -> BLOB conversion of string "é😀".'),
    ("cast(d as enum('a')) = 'a'", "Unimplemented type for cast"),
    ("cast(i as blob) = 'a'", "Unimplemented type for cast"),
    (
        "cast(caption as blob) = 'nan'",
        'Invalid byte encountered in STRING -> BLOB conversion of string "é😀".',
    ),
    ("vec <=> [1.0, 0.0] < 0.5", '"<=>"'),
    ("list_dot_product(emb, [1, 1, 1]) > 1", "list_dot_product"),
    (
        "strptime(caption, '%Y') is null",
        'Could not parse string "a cat" according to format specifier "%Y"',
    ),
    ("case when i < 10 then i * 1000000000 end > 0", "Overflow in multiplication of INT32"),
    (
        "case when ok then caption::int end > 1",
        "Could not convert string 'a cat' to INT32 when casting from source col",
    ),
    ("try(timezone(caption, day)) > day", "Unknown TimeZone 'a cat'!"),
    ("try(time_bucket(interval (i) day, day)) > day", "Period must be greater than 0"),
    ("(i + big) % 2 = 1", "Overflow in addition of INT64"),
]


def check_sentence(error: InputError, text: str, said: str) -> None:
    assert error.sentence.startswith(f"--filter={text!r} ")
    assert said in error.sentence
    assert "\n" not in error.sentence
    assert error.sentence.endswith(".")


@pytest.mark.parametrize(("text", "said"), REFUSED)
def test_what_is_no_filter_is_one_sentence_before_anything_runs(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        Filter(text).bind(TYPES)
    check_sentence(caught.value, text, said)


@pytest.mark.parametrize(("text", "said"), FAILING)
def test_what_fails_on_a_row_is_one_sentence_however_rows_are_dealt(text: str, said: str) -> None:
    bound = Filter(text).bind(TYPES)
    with pytest.raises(InputError) as caught:
        kept(bound, range(ROWS))
    check_sentence(caught.value, text, said)
    assert "what may fail is null within try(...)" in caught.value.sentence
    with pytest.raises(InputError):
        "".join(kept(bound, [place]) for place in range(ROWS))
