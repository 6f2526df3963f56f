"""Markdown around text that anybody may have written: it is shown, and is nothing else.

Text in which a renderer could find a tag, a link, emphasis or a formula is set as code, where it
finds nothing; all other text stays as it is. Both keep to one cell of a table, and are cut where
they are longer than `most` characters.

Sources: CommonMark 0.31.2, parts 6.1 to 6.9; GitHub Flavored Markdown, tables, strikethrough and
extended autolinks, which are looked for in what entities and escapes stand for, too.
"""

from __future__ import annotations

import re

from beam_export.text import cut, escaped

__all__ = ["code", "plain"]

_HAZARDS = re.compile(
    r"""
    [`$\\~^@]                                       # code, formulas, escapes, strikethrough, mail
    | & (?=[\#a-z])                                 # entities
    | < (?=[/!?]) | < [a-z][a-z0-9-]*+ (?=[\s/>]|:\S|$)   # tags and autolinks
    | \* (?=\S) | (?<=\S) \*                        # emphasis
    | (?<![^\W_]) _ | _ (?![^\W_])
    | (?<![\w>]) \[ | \[ (?=\^) | \] (?=[(\[:])        # links, images, footnotes
    | :// | www\. | : \S+ :                         # autolinks, emoji
    """,
    re.VERBOSE | re.IGNORECASE,
)


def plain(text: str, most: int = 200) -> str:
    r"""Returns text for a cell: as it is, or as code if Markdown could take it for more than text.

    >>> plain("score < 0.5"), plain("a <b> c")
    ('score < 0.5', '`a <b> c`')
    """
    if len(text) > most or escaped(text) != text or _HAZARDS.search(text):
        return code(text, most)
    return text.replace("|", r"\|")


def code(text: str, most: int = 200) -> str:
    r"""Returns text for a cell, set as code; what would end the cell or the code is escaped.

    >>> code("a`b|c")
    '`a\\x60b\\|c`'
    """
    kept = escaped(cut(text, most)).replace("`", r"\x60")
    # Readers disagree on what a bar after two backslashes is.
    kept = kept.replace(r"\|", r"\\x7c").replace("|", r"\|")
    return f"`{kept}`"
