from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.shards.npy_types import (
    ArrayType,
    array_remark,
    array_types,
    has_arrays,
    is_array_remark,
)


def npy(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version)
    return file.getvalue()


def found(*arrays: bytes) -> ArrayType | None:
    return array_types(array_remark("a.npy", data) for data in arrays)["a.npy"]


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4)])
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "float64", ">f4", "<U5"])
def test_type_and_dimensions_are_those_of_the_array(
    version: tuple[int, int], shape: tuple[int, ...], dtype: str
) -> None:
    name = {">f4": "float32", "<U5": "string"}.get(dtype, dtype)
    assert found(npy(np.zeros(shape, dtype), version)) == ArrayType(name, len(shape))


@pytest.mark.parametrize("dtype", ["complex64", "datetime64[s]", "S3", "f4,i4", "longdouble"])
def test_other_types_have_no_name(dtype: str) -> None:
    assert found(npy(np.zeros(2, dtype))) is None


def test_objects_and_bytes_that_are_no_array_have_none() -> None:
    file = io.BytesIO()
    np.save(file, np.array([None]), allow_pickle=True)
    good = npy(np.zeros(2))
    for data in (file.getvalue(), b"", good[:20], good.replace(b"descr", b"decsr"), b"\x93NUMPY"):
        assert found(data) is None
        assert found(good, data) is None


@given(st.binary(max_size=200))
def test_any_bytes_give_a_remark(data: bytes) -> None:
    for one in (data, b"\x93NUMPY\x01\x00" + data, b"\x93NUMPY\x01\x00\x76\x00{" + data):
        assert is_array_remark(array_remark("npy", one))


@pytest.mark.parametrize(
    ("dtypes", "common"),
    [
        (["int8", "int64"], "int64"),
        (["float32", "float64"], "float64"),
        (["uint8", "float16"], "float16"),
        (["bool", "int8"], None),
        (["float32", "<U2"], None),
    ],
)
def test_a_type_that_holds_all(dtypes: list[str], common: str | None) -> None:
    arrays = [npy(np.zeros(2, dtype)) for dtype in dtypes]
    assert found(*arrays) == (None if common is None else ArrayType(common, 1))


def test_other_dimensions_have_no_type_in_common() -> None:
    assert found(npy(np.zeros(2)), npy(np.zeros((2, 2)))) is None


def test_members_are_told_apart_and_other_remarks_left() -> None:
    remarks = [array_remark("npy", npy(np.zeros(1))), array_remark("a.npy", b""), "damaged"]
    assert array_types(remarks) == {"a.npy": None, "npy": ArrayType("float64", 1)}
    assert [is_array_remark(one) for one in remarks] == [True, True, False]


def test_arrays_by_extension() -> None:
    assert list(map(has_arrays, ["npy", "t5-xl.npy", "npz", "npy.gz", "xnpy"])) == [
        *(True, True),
        *(False, False, False),
    ]
