"""The options of an export, declared once, from which flags, digests and templates are derived."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any, Literal

from beam_export.declaration import Option, declared, option
from beam_export.errors import InputError
from beam_export.images.encoder import EncodeSpec
from beam_export.metadata.filter import needs_probe, needs_size

__all__ = ["PLACES", "RUN", "ExportOptions", "InputFormat"]

#: The headings of `--help`.
PLACES = "input and output"
SELECTION = "what is known of the samples, and which are taken"
LAYOUT = "shards and samples"
IMAGES = "images"
RUN = "the run"

InputFormat = Literal["auto", "files", "webdataset", "parquet", "table"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options of an export; names, defaults and meanings are those of the flags.

    Raises:
        InputError: if a value makes no sense, in one sentence.
    """

    input_format: InputFormat = option(
        "auto",
        Option(
            "what is read of it; auto looks at the names of what is inside",
            PLACES,
            shapes="never",
            keyword=False,
        ),
    )
    output_dir: str = dataclasses.field(
        metadata=Option(
            "directory to write to",
            PLACES,
            shapes="never",
            path="write_folder",
            complaint="is no path: give a directory or gs://bucket/prefix, as text",
        ).as_metadata()
    )

    # Paths of tables and lists never enter the hash: what they hold is in the samples' digests. The
    # text of a filter does, though its result is in the digests too, for the manifest to show it.
    metadata: str | None = option(
        None,
        Option(
            "table (.parquet, .csv, .jsonl) whose columns join each sample by id",
            SELECTION,
            shapes="never",
            path="read_file",
        ),
    )
    metadata_key: str = option(
        "image_id", Option("the table's column with the ids", SELECTION, shapes="never")
    )
    filter: str | None = option(
        None,
        Option(
            "keep samples for which a SQL condition over the columns, width, height, size and "
            "format is true: score >= 0.5 and width > 256; columns are checked before anything "
            "runs where tables name them, and before anything is written where only JSON does",
            SELECTION,
            shapes="always",
        ),
    )
    ids: str | None = option(
        None,
        Option(
            "keep these: a file of ids, one a line, or a Parquet column",
            SELECTION,
            shapes="never",
            path="read_file",
        ),
    )
    exclude_ids: str | None = option(
        None, Option("leave these out; as --ids", SELECTION, shapes="never", path="read_file")
    )
    caption_column: str | None = option(
        None, Option("text that is also written as KEY.txt", SELECTION, shapes="always")
    )

    images_per_tar: int = option(
        1000,
        Option("samples a shard, exact in all but the last", LAYOUT, shapes="always", at_least=1),
    )
    max_tar_bytes: int | None = option(
        None,
        Option(
            "close a shard at this size too; planned on the sizes of the sources",
            LAYOUT,
            shapes="always",
            at_least=1,
        ),
    )
    deterministic_name: bool = option(
        True, Option("name files by their content, else by a random token", LAYOUT, shapes="never")
    )
    member_names: Literal["id", "sequential"] = option(
        "id", Option("name samples in the tars by id or by their rank", LAYOUT, shapes="always")
    )
    order: Literal["source", "shuffled"] = option(
        "source", Option("the input's order, or a shuffle by --seed", LAYOUT, shapes="always")
    )
    seed: int = option(
        0, Option("names the permutation of --order=shuffled", LAYOUT, shapes="always")
    )
    limit: int | None = option(
        None,
        Option("export only the first N samples in order", LAYOUT, shapes="always", at_least=1),
    )
    duplicates: Literal["error", "first", "rename"] = option(
        "error", Option("of equal ids: stop, keep the first, or rename", LAYOUT, shapes="always")
    )
    # A probe only finds failures earlier; which samples there are is in the hash.
    probe: Literal["off", "header", "full"] = option(
        "off",
        Option(
            "before planning, look at each image's header, or decode it in full, so that shards "
            "are exact over what can be read",
            LAYOUT,
            shapes="never",
        ),
    )

    encode: Literal["auto", "always", "never"] = option(
        "auto",
        Option(
            "auto copies a JPEG that needs no change and makes JPEG of all else; always encodes "
            "all; never copies all",
            IMAGES,
            shapes="always",
        ),
    )
    # The encoder that it resolves to is part of each shard's plan instead.
    encoder: Literal["auto", "pillow", "dali"] = option(
        "auto",
        Option(
            "what encodes; auto is DALI where it has a GPU, and else Pillow", IMAGES, shapes="never"
        ),
    )
    device: Literal["auto", "cpu", "gpu"] = option(
        "auto",
        Option("where DALI works; auto is the GPU where there is one", IMAGES, shapes="never"),
    )
    quality: int = option(
        92,
        Option(
            "of JPEGs that are encoded, 1 to 100",
            IMAGES,
            shapes="always",
            at_least=1,
            at_most=100,
        ),
    )
    subsampling: Literal["420", "422", "444"] = option(
        "420", Option("chroma subsampling of JPEGs that are encoded", IMAGES, shapes="always")
    )
    resize: int | None = option(
        None, Option("target in pixels", IMAGES, shapes="always", at_least=1)
    )
    resize_mode: Literal["no", "keep_ratio", "keep_ratio_largest", "center_crop", "border"] = (
        option(
            "keep_ratio",
            Option("what --resize sets, and what becomes of the rest", IMAGES, shapes="always"),
        )
    )
    damaged: Literal["fail", "keep"] = option(
        "fail",
        Option(
            "JPEGs that decode with loss of data: fail, or keep them as far as they decode",
            IMAGES,
            shapes="unless_default",
        ),
    )
    max_pixels: int = option(
        250_000_000,
        Option("larger images are failures", IMAGES, shapes="always", at_least=1),
    )
    max_image_bytes: int = option(
        268_435_456,
        Option("larger files are failures", IMAGES, shapes="always", at_least=1),
    )

    max_failed_fraction: float = option(
        0.01,
        Option(
            "if more of the images fail, the run does; each is listed either way",
            RUN,
            shapes="never",
            at_least=0,
            at_most=1,
            complaint="is not a number between 0 and 1: give the share of images that may fail, "
            "0.01 for one in a hundred",
        ),
    )
    resume: bool = option(
        True,
        Option("keep shards that an earlier run of the same has finished", RUN, shapes="never"),
    )
    clean: bool = option(
        False, Option("remove what earlier runs have left in --output_dir", RUN, shapes="never")
    )
    allow_broken_sources: bool = option(
        False,
        Option("go on without what an unreadable source holds", RUN, shapes="never", keyword=False),
    )
    gpu: str | None = option(
        None,
        Option(
            "accelerator of Dataflow's workers, nvidia-l4 say: sets all that they need for it",
            RUN,
            shapes="never",
            metavar="TYPE",
            complaint="is no accelerator type: give one such as nvidia-l4",
        ),
    )
    verbose: bool = option(
        False, Option("a line a shard, and tracebacks of errors", RUN, shapes="never")
    )

    def __post_init__(self) -> None:
        # First, since the parser of filters has the better messages.
        needs_header = self.filter is not None and needs_probe(self.filter)
        for one in declared(type(self)).values():
            one.check(getattr(self, one.name))
        self._check_gpu()
        if needs_header and self.probe == "off":
            object.__setattr__(self, "probe", "header")
        if self.encode == "never" and self.resize is not None:
            raise InputError(
                f"--encode=never with --resize={self.resize} contradict each other, since a "
                "resized image must be encoded: drop one of the two."
            )

    def _check_gpu(self) -> None:
        """Refuses `--gpu` beside options with which no GPU would be used."""
        if self.gpu is None:
            return
        idle = [("encoder", "pillow"), ("device", "cpu"), ("encode", "never")]
        for name, word in idle:
            if getattr(self, name) == word:
                raise InputError(
                    f"--gpu={self.gpu} with --{name}={word} contradict each other, since nothing "
                    "would use the GPUs: drop one of the two."
                )

    @property
    def lookups(self) -> dict[str, str]:
        """The paths of the tables that are joined with the samples, by option."""
        named = {name: getattr(self, name) for name in ("metadata", "ids", "exclude_ids")}
        return {name: path for name, path in named.items() if path is not None}

    @property
    def selects(self) -> bool:
        """Whether samples are selected by `--ids`, `--exclude_ids` or `--filter`."""
        return self.filter is not None or self.ids is not None or self.exclude_ids is not None

    @property
    def asks_sizes(self) -> bool:
        """Whether the sizes of images have to be known before samples are selected."""
        return self.probe != "off" or (self.filter is not None and needs_size(self.filter))

    def spec(self) -> EncodeSpec:
        """Returns the options that encoders need."""
        return EncodeSpec(
            mode=self.encode,
            quality=self.quality,
            subsampling=self.subsampling,
            resize=self.resize,
            resize_mode=self.resize_mode,
            max_pixels=self.max_pixels,
            max_image_bytes=self.max_image_bytes,
            damaged=self.damaged,
        )

    def shaping(self) -> dict[str, Any]:
        """Returns the options that change the output, by name, with their values.

        >>> shaping = ExportOptions(output_dir="out", quality=80).shaping()
        >>> shaping["quality"], "output_dir" in shaping
        (80, False)
        """
        given = [(one, getattr(self, one.name)) for one in declared(type(self)).values()]
        return {one.name: value for one, value in given if one.enters(value)}

    def digest(self) -> bytes:
        """Returns the SHA-256 of the options that change the output."""
        text = json.dumps(self.shaping(), sort_keys=True)
        return hashlib.sha256(text.encode()).digest()
