"""Writes a `.npy` file whose number of rows is not known in advance."""

from typing import BinaryIO

import numpy as np


class GrowingArray:
    """Writes rows of shape `row_shape` to an open file, in chunks.  The file is valid after the `with`."""

    def __init__(self, file: BinaryIO, dtype: type, row_shape: tuple[int, ...] = ()):
        self.file, self.dtype, self.row_shape, self.length = file, np.dtype(dtype), row_shape, 0
        self._write_header()
        self.body = self.file.tell()

    def append(self, rows: np.ndarray) -> None:
        """Writes rows (n, *row_shape)."""
        self.file.write(np.ascontiguousarray(rows, self.dtype).tobytes())
        self.length += len(rows)

    def __enter__(self) -> "GrowingArray":
        return self

    def __exit__(self, *_) -> None:
        self.file.seek(0)
        self._write_header()
        if (end := self.file.tell()) != self.body:
            raise RuntimeError(f"{self.file.name}: numpy wrote a header of {end} bytes, expected {self.body}")

    def _write_header(self) -> None:
        # the second header fits into the first, because numpy leaves room for a longer first axis
        kind = np.lib.format.dtype_to_descr(self.dtype)
        header = {"descr": kind, "fortran_order": False, "shape": (self.length, *self.row_shape)}
        np.lib.format.write_array_header_1_0(self.file, header)
