from __future__ import annotations

import concurrent.futures
import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.exports import picture
from support.made_exports import NAMES, make_export

import beam_export
from beam_export.errors import InputError, RunError
from beam_export.exports import files as files_module
from beam_export.exports.dataset import ExportedDataset, open_export
from beam_export.exports.files import ExportFiles
from beam_export.samples import Sample
from beam_export.shards.manifest import SplitShards
from beam_export.storage.local import LocalStorage

COUNT = 8


def sample(number: int, **changes: Any) -> Sample:
    given: dict[str, Any] = {
        "id": f"part {number % 2}/img{number:03d}",
        "image": picture(number),
        "path": f"/in/{number}.jpg",
        "metadata": {"score": number / 4, "caption": f"no. {number}" if number else None},
        "fields": {"txt": b"text %d" % number, "seg.png": b"\0" * (number * 300)},
    }
    return Sample(**{**given, **changes})


SAMPLES = [sample(number) for number in range(COUNT)]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_export(tmp_path_factory.mktemp("made") / "out", SAMPLES)


@pytest.fixture
def dataset(out: Path) -> ExportedDataset:
    return open_export(out)


class Reads:
    """Counts what a local storage reads."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        for name in ("read", "read_whole", "open"):
            patch.setattr(LocalStorage, name, self._counted(getattr(LocalStorage, name)))

    def _counted(self, method: Any) -> Any:
        def read(storage: LocalStorage, uri: str, *arguments: int) -> Any:
            self.names.append(uri.rpartition("/")[2])
            if method.__name__ == "read_whole":
                with open(uri, "rb") as source:
                    return source.read()
            return method(storage, uri, *arguments)

        return read

    def take(self) -> list[str]:
        names, self.names = self.names, []
        return names


def test_every_sample_comes_back_by_its_number(dataset: ExportedDataset) -> None:
    assert len(dataset) == COUNT
    assert [dataset[number] for number in range(COUNT)] == SAMPLES
    assert [dataset[number] for number in range(-COUNT, 0)] == SAMPLES


def test_iteration_gives_all_in_order(dataset: ExportedDataset) -> None:
    assert list(dataset) == SAMPLES
    assert list(dataset) == SAMPLES  # and a second time


@pytest.mark.parametrize("number", [COUNT, -COUNT - 1, 10**9])
def test_a_number_out_of_range_is_an_index_error(dataset: ExportedDataset, number: int) -> None:
    with pytest.raises(IndexError, match=f"8 samples, and none of number {number}"):
        dataset[number]


places = st.none() | st.integers(-COUNT - 2, COUNT + 2)
steps = st.none() | st.integers(-4, 4).filter(bool)


@given(st.slices(COUNT), places, places, steps)
def test_slices_are_those_of_a_list(
    plain: slice, start: int | None, stop: int | None, step: int | None
) -> None:
    numbers = ExportedDataset(None, range(COUNT))  # type: ignore[arg-type]
    for cut in (plain, slice(start, stop, step)):
        assert list(numbers[cut]._numbers) == list(range(COUNT))[cut]


@pytest.mark.parametrize(
    "cut", [slice(2, 7), slice(None, None, -3), slice(5, 5), slice(1, None, 2)]
)
def test_a_slice_is_a_dataset_too(dataset: ExportedDataset, cut: slice) -> None:
    part, wanted = dataset[cut], SAMPLES[cut]
    assert list(part) == wanted
    assert [part[number] for number in range(len(part))] == wanted
    assert part.table(["image_id"])["image_id"].to_pylist() == [one.id for one in wanted]
    assert part[1:][:2].table().num_rows == len(wanted[1:][:2])


def test_opening_reads_two_files_and_a_sample_one_range(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = Reads(monkeypatch)
    dataset = open_export(out)
    assert len(reads.take()) == 2
    dataset[4]
    assert reads.take() == [
        f"images-{NAMES.hash}-000001.parquet",
        f"images-{NAMES.hash}-000001.tar",
    ]
    for number in (3, 5, 4):
        dataset[number]
        assert reads.take() == [f"images-{NAMES.hash}-000001.tar"]


def test_by_id_reads_the_ids_once(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_export(out)
    assert dataset.by_id(SAMPLES[5].id) == SAMPLES[5]
    reads = Reads(monkeypatch)
    dataset.by_id(SAMPLES[4].id)
    assert reads.take() == [NAMES.tar(1)]
    assert [dataset.by_id(one.id) for one in SAMPLES] == SAMPLES


@pytest.mark.parametrize("id", ["", "part 0/img00", "\udc80"])
def test_an_id_that_no_sample_has_is_a_key_error(dataset: ExportedDataset, id: str) -> None:
    with pytest.raises(KeyError, match="no sample has the id"):
        dataset.by_id(id)


def test_by_id_of_a_slice_finds_its_own_alone(dataset: ExportedDataset) -> None:
    assert dataset[2:4].by_id(SAMPLES[3].id) == SAMPLES[3]
    with pytest.raises(KeyError):
        dataset[2:4].by_id(SAMPLES[4].id)


def test_table_and_schema_are_those_of_the_parquet(out: Path, dataset: ExportedDataset) -> None:
    files = sorted(out.glob("images-*.parquet"))
    whole = pa.concat_tables([pq.read_table(path) for path in files])
    assert dataset.table().equals(whole)
    assert dataset.schema.equals(whole.schema, check_metadata=True)
    part = dataset.table(columns=["score", "image_id"])
    assert part.equals(whole.select(["score", "image_id"]))
    assert dataset[:0].table(["score"]).schema == part.schema.remove(1)


def test_a_column_that_is_not_there_is_a_sentence(dataset: ExportedDataset) -> None:
    with pytest.raises(InputError, match="no column 'scores': 'score' is meant, perhaps"):
        dataset.table(["scores"])


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (lambda one: one.by_id(3), r"by_id takes .* not 3 \(int\): .*dataset\[number\]"),
        (lambda one: one.by_id(b"cat"), r"by_id takes an id as text, not b'cat' \(bytes\): "),
        (lambda one: one["part 0"], r"not by 'part 0' \(str\): .* an id to by_id\(\)"),
        (lambda one: one[1.0], r"not by 1\.0 \(float\): give a whole number"),
        (lambda one: one.table("score"), r"list of names, not 'score' \(str\): .*columns=\["),
        (lambda one: one.table(columns=3), r"columns is a list of names, not 3 \(int\): "),
        (lambda _: open_export(None), r"open_export takes .* not None \(NoneType\)"),  # type: ignore[arg-type]
        (lambda _: open_export(b"out"), r"open_export takes .* not b'out' \(bytes\)"),  # type: ignore[arg-type]
        (lambda one: one.by_id(["x" * 999]), r"^.{,200}$"),
    ],
)
def test_an_argument_of_a_wrong_type_is_a_sentence(
    dataset: ExportedDataset, use: Any, said: str
) -> None:
    with pytest.raises(TypeError, match=said):
        use(dataset)


def test_a_column_whose_name_begins_another_comes_alone(tmp_path: Path) -> None:
    metadata = {"clip": 1, "clip.score": 2, "box": {"x": 3}}
    out = make_export(tmp_path / "out", [sample(1, metadata=metadata)])
    table = open_export(out).table(["clip", "box"])
    assert table.to_pylist() == [{"clip": 1, "box": {"x": 3}}]


def test_manifest_is_there(dataset: ExportedDataset) -> None:
    assert dataset.manifest["totals"]["written"] == COUNT
    assert dataset.splits == {}


def test_splits_are_datasets_of_their_shards(tmp_path: Path) -> None:
    splits = [
        SplitShards(name="train", key="train", first_shard=0, shards=2, samples=6, bytes=1),
        SplitShards(name="empty", key="empty", first_shard=2, shards=0, samples=0, bytes=0),
        SplitShards(name="val-1", key="val_1", first_shard=2, shards=1, samples=2, bytes=1),
    ]
    found = open_export(make_export(tmp_path / "out", SAMPLES, splits=splits)).splits
    assert {name: list(part) for name, part in found.items()} == {
        "train": SAMPLES[:6],
        "empty": [],
        "val-1": SAMPLES[6:],
    }
    assert found["val-1"].by_id(SAMPLES[7].id) == SAMPLES[7]
    assert found["empty"].table(["score"]).num_rows == 0


@pytest.mark.parametrize("cut", [slice(4, 8), slice(None, None, -3), slice(0, 0), slice(7, 2, -1)])
def test_splits_of_a_part_are_what_it_has_of_them(tmp_path: Path, cut: slice) -> None:
    splits = [
        SplitShards(name="train", key="train", first_shard=0, shards=2, samples=6, bytes=1),
        SplitShards(name="val", key="val", first_shard=2, shards=1, samples=2, bytes=1),
    ]
    part = open_export(make_export(tmp_path / "out", SAMPLES, splits=splits))[cut]
    train = [one.id for one in SAMPLES[:6]]
    assert {name: list(one) for name, one in part.splits.items()} == {
        "train": [one for one in SAMPLES[cut] if one.id in train],
        "val": [one for one in SAMPLES[cut] if one.id not in train],
    }
    assert [list(one) for one in part.splits["val"].splits.values()] == [
        [],
        list(part.splits["val"]),
    ]


def test_it_pickles_with_the_ids_and_without_what_is_kept(dataset: ExportedDataset) -> None:
    dataset.by_id(SAMPLES[1].id)
    data = pickle.dumps(dataset[1:])
    assert len(data) < 10_000
    again = pickle.loads(data)
    assert list(again) == SAMPLES[1:]
    assert again.by_id(SAMPLES[1].id) == SAMPLES[1]


def _first(dataset: ExportedDataset) -> str:
    return dataset[0].id


def test_other_processes_read_it(dataset: ExportedDataset) -> None:
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, spawn) as pool:
        assert pool.submit(_first, dataset[3:]).result() == SAMPLES[3].id


def test_threads_read_it_at_once(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "_KEPT", 1)  # each read throws out what another wants
    dataset = open_export(out)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(dataset.__getitem__, list(range(COUNT)) * 20))
    assert found == SAMPLES * 20


def test_spans_of_any_size_give_the_same(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (1, 2_000, 5_000):
        monkeypatch.setattr(files_module, "_SPAN", size)
        assert list(open_export(out)) == SAMPLES


def test_a_remote_storage_is_read_ahead(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalStorage, "remote", True)
    monkeypatch.setattr(files_module, "_SPAN", 1)
    dataset = open_export(out)
    assert list(dataset) == SAMPLES
    assert dataset.table(["score"])["score"].to_pylist() == [n / 4 for n in range(COUNT)]
    assert dataset.by_id(SAMPLES[6].id) == SAMPLES[6]


def test_large_parquet_files_are_read_a_row_group_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beam_export.shards.parquet.ROWS_PER_GROUP", 2)
    monkeypatch.setattr(files_module, "ROWS_PER_GROUP", 2)
    monkeypatch.setattr(files_module, "_WHOLE", 0)
    dataset = open_export(make_export(tmp_path / "out", SAMPLES, per_shard=5))
    assert [dataset[number] for number in range(COUNT)] == SAMPLES
    assert list(dataset[1:6]) == SAMPLES[1:6]
    assert dataset._files._rows(3).table.num_rows == 2
    assert dataset.table(["image_id"]).num_rows == COUNT


def test_rows_that_were_used_last_are_kept_up_to_a_bound(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = open_export(out)._files
    for number in (0, 3, 6):
        files.sample(number)
    sizes = {key[0]: rows.table.nbytes + rows.ends.nbytes for key, rows in files._kept.items()}
    assert files._kept_bytes == sum(sizes.values())
    monkeypatch.setattr(files_module, "_KEPT", sizes[0] + sizes[2])
    other = open_export(out)._files
    for number in (0, 3, 0, 6):
        other.sample(number)
    assert [key[0] for key in other._kept] == [0, 2]
    assert other._kept_bytes == sizes[0] + sizes[2]


def test_a_sample_without_columns_and_fields_comes_back(tmp_path: Path) -> None:
    plain = [sample(number, metadata={}, fields={}, path="") for number in range(2)]
    assert list(open_export(make_export(tmp_path / "out", plain))) == plain


def test_public_names_are_those_of_the_package() -> None:
    assert beam_export.open_export is open_export
    assert beam_export.ExportedDataset is ExportedDataset


def test_a_repr_says_where_and_how_many(out: Path, dataset: ExportedDataset) -> None:
    assert repr(dataset[2:5]) == f"<ExportedDataset {out}: 3 of 8 samples>"


def sentence_of(error: RunError) -> str:
    assert error.sentence.endswith(".")
    assert "\n" not in error.sentence
    return error.sentence


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x55
    path.write_bytes(data)


def damaged_tar(out: Path) -> Path:
    return out / NAMES.tar(1)


def damages() -> dict[str, Any]:
    def image(out: Path) -> None:
        flip(damaged_tar(out), 700)

    def header(out: Path) -> None:
        flip(damaged_tar(out), 10)

    def cut(out: Path) -> None:
        data = damaged_tar(out).read_bytes()
        damaged_tar(out).write_bytes(data[:600])

    def gone(out: Path) -> None:
        damaged_tar(out).unlink()

    def other(out: Path) -> None:
        damaged_tar(out).write_bytes((out / NAMES.tar(2)).read_bytes())

    def no_table(out: Path) -> None:
        (out / NAMES.parquet(1)).unlink()

    def short_table(out: Path) -> None:
        data = (out / NAMES.parquet(1)).read_bytes()
        (out / NAMES.parquet(1)).write_bytes(data[:-9])

    def changed_table(out: Path) -> None:
        flip(out / NAMES.parquet(1), 60)

    def other_table(out: Path) -> None:
        (out / NAMES.parquet(1)).write_bytes((out / NAMES.parquet(2)).read_bytes())

    return {one.__name__: one for one in list(locals().values())}


@pytest.mark.parametrize("damage", damages().values(), ids=damages())
def test_a_damaged_shard_is_a_sentence_that_names_the_file(tmp_path: Path, damage: Any) -> None:
    out = make_export(tmp_path / "out", SAMPLES)
    damage(out)
    dataset = open_export(out)
    assert dataset[0] == SAMPLES[0]  # the other shards are read
    for use in (lambda: dataset[3], lambda: list(dataset)):
        with pytest.raises(RunError) as caught:
            use()
        assert "000001" in sentence_of(caught.value)
        assert f"beam-export verify {out}" in sentence_of(caught.value)


def test_a_damaged_field_beside_the_image_is_found_by_its_header(tmp_path: Path) -> None:
    out = make_export(tmp_path / "out", SAMPLES)
    data = (out / NAMES.tar(0)).read_bytes()
    flip(out / NAMES.tar(0), data.index(b".seg.png\0"))
    with pytest.raises(RunError, match="no header where a member begins"):
        open_export(out)[0]


def test_files_are_read_by_nobody_before_they_are_asked_for(out: Path) -> None:
    dataset = open_export(out)
    assert isinstance(dataset._files, ExportFiles)
    assert dataset._files._ids is None
    assert not dataset._files._kept


def test_no_directory_is_not_the_root() -> None:
    with pytest.raises(InputError, match="open_export was given '': give the directory"):
        open_export("")
