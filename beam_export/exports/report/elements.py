"""Makes elements of a page; text becomes text, whatever it holds.

What a dataset says is never parsed as HTML: the library that writes the page out escapes it.
Control characters and marks of the direction of text are shown as escapes, long text is cut, and
the direction of each text is its own (`bdi`).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable

from beam_export.text import cut, escaped

__all__ = ["Child", "data", "element", "plain_text", "to_html"]

#: What an element holds: elements, and text of ours.
Child = ET.Element | str | None

#: Characters shown of a text of the dataset.
_LONGEST = 300


def element(name: str, content: Child | Iterable[Child] = None, /, **attributes: str) -> ET.Element:
    """Returns an element; `class_` is the attribute `class`, and `_` in others becomes `-`.

    >>> to_html(element("p", ["a < b ", element("b", "c"), None, " d"], class_="x"))
    '<p class="x">a &lt; b <b>c</b> d</p>'

    Args:
        name: of the element.
        content: text of ours, an element, or several of them; None is left out.
        attributes: of the element.
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    made = ET.Element(name, given)
    last: ET.Element | None = None
    children: Iterable[Child]
    if content is None or isinstance(content, (str, ET.Element)):
        children = [content]
    else:
        children = content
    for child in children:
        if isinstance(child, ET.Element):
            made.append(child)
            last = child
        elif child is not None and last is None:
            made.text = (made.text or "") + child
        elif child is not None and last is not None:
            last.tail = (last.tail or "") + child
    return made


def plain_text(text: str, most: int = _LONGEST) -> str:
    r"""Returns text of a dataset as one line without control characters, cut if it is long.

    >>> plain_text("a\n\u202eb")
    'a\\n\\u202eb'
    """
    return escaped(cut(text, most))


def data(text: str, most: int = _LONGEST) -> ET.Element:
    """Returns text of a dataset as an element with a direction of its own."""
    return element("bdi", plain_text(text, most))


def to_html(root: ET.Element) -> str:
    """Returns an element as HTML."""
    return ET.tostring(root, encoding="unicode", method="html")
