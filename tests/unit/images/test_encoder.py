"""`beam_export.images.encoder`: arrays of the host and of a GPU, known by what they show."""

from __future__ import annotations

from typing import Any

from support.pictures import OnDevice, smooth

from beam_export.images.encoder import array_fault, array_shape, is_array, is_on_device, nbytes


class OnHost:
    """What torch shows of a tensor on the host."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        raise AttributeError("not on a GPU")


def test_arrays_on_devices_are_known() -> None:
    array = OnDevice((4, 6, 3), "<f4")
    assert is_on_device(array)
    assert not is_on_device(OnHost())
    assert not is_array(b"")
    assert is_array(array)
    assert is_array(smooth())
    assert (array_shape(array), nbytes(array)) == ((4, 6, 3), 288)
    assert nbytes(smooth()) == 48 * 32 * 3
    assert "dtype float32 and shape (4, 6, 3)" in str(array_fault(array))
    assert array_fault(OnDevice((4, 6))) is None
    assert array_fault(OnDevice((4, 6, 2))) is not None
