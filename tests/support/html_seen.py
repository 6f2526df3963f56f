"""What a parser of HTML finds in a page, and text that tries to be more than text."""

from __future__ import annotations

from html.parser import HTMLParser

__all__ = ["ATTACKS", "Seen"]

ATTACKS = [
    "<script>alert(1)</script>",
    "</bdi></td><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)' autofocus='",
    "]]><!-- --!> <!--",
    "&lt;script&gt;&#60;b&#62;",
    "\u202egnp.exe\u2066",
    "\x00\x07\x1b[31m\r\n",
    "a" * 10_000,
    "\ufeff\u2028\u2029",
    "</style><style>*{display:none}",
    "</title></head><body>",
]


class Seen(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keeps an element with its attributes."""
        self.tags.append((tag, attrs))

    def handle_data(self, text: str) -> None:
        """Keeps text."""
        self.text += text
