"""Partial responses: the parameter `fields` (cloud.google.com/storage/docs/json_api#partial)."""

from __future__ import annotations

from typing import Any

from .store import ApiError

__all__ = ["pick"]

Tree = dict[str, Any]


def pick(value: Any, fields: str) -> Any:
    """Returns what `fields` names of a resource: `items(name,size),nextPageToken`, `a/b`, `*`."""
    tree, rest = _parse(fields)
    if rest:
        raise ApiError(400, "invalidParameter", f"Invalid field selection {fields}")
    return _pick(value, tree)


def _parse(text: str) -> tuple[Tree, str]:
    tree: Tree = {}
    while text:
        size = next((at for at, char in enumerate(text) if char in ",()/"), len(text))
        name, text = text[:size].strip(), text[size:]
        below: Tree = {}
        if text.startswith("("):
            below, text = _parse(text[1:])
            text = text.removeprefix(")")
        elif text.startswith("/"):
            below, text = _parse_one(text[1:])
        tree[name] = below
        if not text.startswith(","):
            break
        text = text[1:]
    return tree, text


def _parse_one(text: str) -> tuple[Tree, str]:
    """Parses what follows a slash: the next comma belongs to what stands before it."""
    size = next((at for at, char in enumerate(text) if char in ",)"), len(text))
    tree, _ = _parse(text[:size])
    return tree, text[size:]


def _pick(value: Any, tree: Tree) -> Any:
    if not tree:
        return value
    if isinstance(value, list):
        return [_pick(one, tree) for one in value]
    if "*" in tree:
        return {key: _pick(one, tree["*"]) for key, one in value.items()}
    return {key: _pick(value[key], below) for key, below in tree.items() if key in value}
