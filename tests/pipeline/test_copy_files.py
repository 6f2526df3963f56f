"""Local files that are copied come one by one, and as they would in batches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.exports import picture

from beam_export.images.encoder import EncodeSpec
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.pipeline import prefetch
from beam_export.pipeline.prefetch import load_and_encode
from beam_export.samples import SOURCE_CHANGED, WHOLE, Failure, Member, SampleRef
from beam_export.shards.writer import ReadySample
from beam_export.sources.reader import Reader
from beam_export.storage.uris import pin_file

MOST = 100_000


class BatchReader(Reader):
    """Reads no file by itself, so that all goes through batches."""

    def read_file(self, member: Member) -> bytes | None:
        return None


def member(path: Path, ext: str) -> Member:
    status = path.stat()
    uri = pin_file(str(path), status.st_size, status.st_mtime_ns)
    return Member(ext, uri, WHOLE, status.st_size)


def ref(path: Path, *fields: Member) -> SampleRef:
    image = member(path, path.suffix[1:])
    return SampleRef(path.stem.encode(), path.stem, str(path), image, fields, {}, image.size)


@pytest.fixture
def refs(tmp_path: Path) -> list[SampleRef]:
    """Images of all ways: copied, encoded, with a sidecar, damaged, gone, changed, too large."""
    made = []
    for number in range(24):
        path = tmp_path / f"{number:02d}.{'png' if number % 8 == 5 else 'jpg'}"
        path.write_bytes(picture(number, path.suffix[1:]))
        made.append(ref(path))
    caption = tmp_path / "01.txt"
    caption.write_text("a cat")
    made[1] = ref(tmp_path / "01.jpg", member(caption, "txt"))
    made[2] = ref(tmp_path / "02.jpg", member(caption, "jpg"))  # a name that its image takes
    cut, large = tmp_path / "03.jpg", tmp_path / "06.jpg"
    cut.write_bytes(cut.read_bytes()[:150])
    large.write_bytes(large.read_bytes() + bytes(MOST))
    made[3], made[6] = ref(cut), ref(large)
    os.unlink(tmp_path / "04.jpg")
    (tmp_path / "07.jpg").write_bytes(picture(99))
    return made


def exported(refs: list[SampleRef], reader: Reader, mode: str) -> list[ReadySample | Failure]:
    encoder = PillowEncoder(EncodeSpec(mode=mode, max_image_bytes=MOST))
    encoder.open()
    with reader:
        return list(load_and_encode(((one, one.id) for one in refs), reader, encoder))


@pytest.mark.parametrize("mode", ["auto", "never"])
@pytest.mark.parametrize("batch", [1, 3, 32])
def test_one_by_one_or_in_batches_samples_are_the_same(
    refs: list[SampleRef], monkeypatch: pytest.MonkeyPatch, mode: str, batch: int
) -> None:
    monkeypatch.setattr(prefetch, "BATCH_SAMPLES", batch)
    singly = exported(refs, Reader(MOST), mode)
    assert singly == exported(refs, BatchReader(MOST), mode)
    assert len(singly) == len(refs)
    lost = {one.image_id for one in singly if isinstance(one, Failure)}
    assert {"02", "04", "06", "07"} <= lost
    assert isinstance(singly[1], ReadySample)
    assert singly[1].fields == [("txt", b"a cat")]


def test_a_file_is_read_when_the_one_before_it_was_taken(refs: list[SampleRef]) -> None:
    encoder = PillowEncoder(EncodeSpec(max_image_bytes=MOST))
    keyed = iter([(refs[0], "a"), (refs[8], "b")])
    with Reader(MOST) as reader:
        samples: Iterator[ReadySample | Failure] = load_and_encode(keyed, reader, encoder)
        assert isinstance(next(samples), ReadySample)
        Path(refs[8].path).write_bytes(b"other")
        late = next(samples)
    assert isinstance(late, Failure)
    assert late.error == SOURCE_CHANGED
