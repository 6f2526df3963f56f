"""The rule of `--split`: fractions by name, a column, or the first folder of the id.

By fractions a sample's split follows from its id alone. The SHA-256 of `split:` and the id (UTF-8),
read as a big-endian integer h, is a number h / 2^256 in [0, 1), which the fractions divide in the
order in which they are given: train=0.9,val=0.1 makes [0, 0.9) train and [0.9, 1) val. Decimals and
bounds are exact integers, so that no rounding moves a sample.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import itertools
import re
from typing import NamedTuple

from beam_export.errors import InputError
from beam_export.naming import find_equal_keys, split_key

__all__ = ["FOLDER", "SplitRule", "bounds_of", "first_folder", "parse_split", "refuse_equal_keys"]

#: The value of `--split` that means folders.
FOLDER = "folder"
_DIGEST_BITS = 256
# Digits enough for any use, and few enough that integers stay small.
_DECIMAL = re.compile(r"(?P<whole>[0-9]{0,3})(?:\.(?P<part>[0-9]{0,60}))?", re.ASCII)


class SplitRule(NamedTuple):
    """The parsed value of `--split`; one of the three is set.

    Attributes:
        fractions: (name, decimal as written) in the order given; they sum to 1.
        column: name of the text column whose values are the splits.
        folder: whether the first folder of the id is the split.
    """

    fractions: tuple[tuple[str, str], ...] = ()
    column: str | None = None
    folder: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the splits, as far as the rule itself has them: those of fractions."""
        return tuple(name for name, _ in self.fractions)

    @property
    def text(self) -> str:
        """The rule as it is written, in one way for each rule.

        >>> parse_split("train = .90, val=0.1").text
        'train=0.9,val=0.1'
        """
        if self.fractions:
            return ",".join(f"{name}={_shortest(decimal)}" for name, decimal in self.fractions)
        return self.column or FOLDER

    def number_of(self, ident: str) -> int:
        """Returns the number of the split that fractions give an id.

        >>> rule = parse_split("train=0.9,val=0.1")
        >>> [rule.number_of(ident) for ident in ("owl 3", "owl 4", "owl 5")]
        [0, 1, 0]
        """
        digest = hashlib.sha256(b"split:" + ident.encode("utf-8", "surrogatepass")).digest()
        return self.number_at(int.from_bytes(digest, "big"))

    def number_at(self, place: int) -> int:
        """Returns the number of the split whose interval holds `place` / 2^256.

        >>> rule = parse_split("train=0.5,val=0.5")
        >>> rule.number_at(2**255 - 1), rule.number_at(2**255)
        (0, 1)
        """
        # On the right: a bound is the first number of the interval behind it.
        return bisect.bisect_right(bounds_of(self), place)


@functools.lru_cache(maxsize=8)
def bounds_of(rule: SplitRule) -> tuple[int, ...]:
    """Returns, for each split but the last, the smallest h (of 2^256) that is not in it any more.

    >>> [bound / 2**256 for bound in bounds_of(parse_split("a=0.5,b=0.25,c=0.25"))]
    [0.5, 0.75]
    """
    shares = [_exact(decimal) for _, decimal in rule.fractions]
    scale = max((digits for _, digits in shares), default=0)
    scaled = itertools.accumulate(number * 10 ** (scale - digits) for number, digits in shares)
    # Rounded up: h / 2^256 < c / 10^scale holds for the integers below c * 2^256 / 10^scale.
    return tuple(-(-(one << _DIGEST_BITS) // 10**scale) for one in list(scaled)[:-1])


def _exact(decimal: str) -> tuple[int, int]:
    """Returns (integer, digits behind the point) of a decimal.

    >>> _exact("0.98"), _exact(".5"), _exact("1")
    ((98, 2), (5, 1), (1, 0))
    """
    whole, _, part = decimal.partition(".")
    return int(f"{whole}{part}"), len(part)


def _shortest(decimal: str) -> str:
    whole, _, part = decimal.partition(".")
    part = part.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{part}" if part else "")


def parse_split(given: str) -> SplitRule:
    """Returns the rule that a value of `--split` states.

    Raises:
        InputError: if it is neither fractions that sum to 1, nor a name, nor `folder`.

    >>> parse_split("train=0.98,val=0.02").names, parse_split("subset").column
    (('train', 'val'), 'subset')
    """
    if given == FOLDER:
        return SplitRule(folder=True)
    if "=" not in given:
        return SplitRule(column=given)
    fractions = tuple(_fraction(part, given) for part in given.split(","))
    rule = SplitRule(fractions=fractions)
    for name in rule.names:
        if rule.names.count(name) > 1:
            raise InputError(f"--split={given} names {name!r} twice: give each split one fraction.")
    refuse_equal_keys(rule.names)
    shares = [_exact(decimal) for _, decimal in fractions]
    scale = max(digits for _, digits in shares)
    total = sum(number * 10 ** (scale - digits) for number, digits in shares)
    if total != 10**scale:
        raise InputError(
            f"--split={given} sums to {_written(total, scale)}, not to 1: give fractions that do, "
            "train=0.98,val=0.02 say."
        )
    return rule


def _fraction(part: str, given: str) -> tuple[str, str]:
    name, equals, decimal = (one.strip() for one in part.partition("="))
    found = _DECIMAL.fullmatch(decimal)
    # A point alone has no digit.
    if not name or not equals or found is None or not (found["whole"] or found["part"]):
        raise InputError(
            f"--split={given} has {part.strip()!r}, which is no name and decimal: give fractions "
            "that sum to 1, train=0.98,val=0.02 say, or a column, or folder."
        )
    return name, decimal


def _written(total: int, scale: int) -> str:
    """Returns total / 10^scale as a decimal.

    >>> _written(105, 2), _written(9, 1)
    ('1.05', '0.9')
    """
    digits = f"{total:0{scale + 1}d}"
    return _shortest(f"{digits[: len(digits) - scale]}.{digits[len(digits) - scale :]}")


def refuse_equal_keys(names: tuple[str, ...]) -> None:
    """Raises InputError if loaders would know two splits by one name (`naming.split_key`)."""
    if found := find_equal_keys(names, split_key):
        one, other = found
        raise InputError(
            f"--split makes {one!r} and {other!r}, and both become {split_key(other)!r} in "
            "names of files and for loaders: give one of the two another name."
        )


def first_folder(ident: str) -> str | None:
    """Returns the first folder of an id; None if it has none.

    >>> first_folder("train/cat/1"), first_folder("/train/1"), first_folder("1")
    ('train', 'train', None)
    """
    # An id that is a URI begins with no folder but its scheme.
    path = ident.partition("://")[2] or ident
    folder, slash, _ = path.lstrip("/").partition("/")
    return folder if slash else None
