"""Options that do not go together."""

from __future__ import annotations

from typing import Any

import pytest

from beam_export.errors import InputError
from beam_export.options import ExportOptions


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"gpu": "nvidia-l4", "encoder": "pillow"}, "--gpu=nvidia-l4 with --encoder=pillow"),
        ({"gpu": "nvidia-l4", "device": "cpu"}, "--gpu=nvidia-l4 with --device=cpu"),
        ({"gpu": "nvidia-l4", "encode": "never"}, "--gpu=nvidia-l4 with --encode=never"),
        ({"encode": "never", "resize": 256}, "--encode=never with --resize=256"),
        ({"encode": "never", "ensure": "rgb"}, "--encode=never with --ensure=rgb"),
        ({"json_columns": "b,a", "drop_columns": "a"}, "both name the column 'a'"),
        ({"text_columns": "a", "drop_columns": "a"}, "both name the column 'a'"),
        ({"caption_column": "a", "drop_columns": "*"}, r"--caption_column=a is left out by"),
        ({"split": "subset", "drop_columns": "sub*"}, r"--split=subset is left out by"),
    ],
)
def test_a_contradiction_is_a_sentence_that_says_what_to_drop(
    given: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        ExportOptions(output_dir="out", **given)
    assert "of the two." in caught.value.sentence


@pytest.mark.parametrize(
    "given",
    [
        {"gpu": "nvidia-l4", "encoder": "dali"},
        {"encode": "always", "resize": 256},
        {"encode": "always", "ensure": "rgb"},
        {"json_columns": "all", "drop_columns": "*"},
        {"split": "a=0.5,b=0.5", "drop_columns": "*"},
        {"split": "folder", "drop_columns": "*"},
        {"split": "subset", "drop_columns": "other"},
    ],
)
def test_what_goes_together_is_taken(given: dict[str, Any]) -> None:
    assert (
        ExportOptions(output_dir="out", **given).shaping().items()
        >= {
            name: value for name, value in given.items() if name != "gpu" and name != "encoder"
        }.items()
    )
