"""Parquet files, through pyarrow (extra `data`)."""

from collections.abc import Iterator, Sequence
from typing import Any

from agents.feed.cells import Cells
from agents.feed.errors import BadTable, MissingExtra

_CHUNK_ROWS = 65_536


class ParquetReader:
    """One file. Null is an empty cell."""

    def __init__(self, path: str) -> None:
        self.path = path

    def columns(self) -> tuple[str, ...]:
        with self._open() as file:
            return tuple(file.schema_arrow.names)

    def chunks(self, wanted: Sequence[str]) -> Iterator[list[Cells]]:
        with self._open() as file:
            for batch in file.iter_batches(_CHUNK_ROWS, columns=list(wanted)):
                yield [_cells(batch.column(name)) for name in wanted]

    def place(self, row: int) -> str:
        return f"row {row + 1}"

    def _open(self) -> Any:
        try:
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        except ImportError as error:
            raise MissingExtra(self.path, "pyarrow", "data") from error
        try:
            return ParquetFile(self.path)
        except (OSError, ArrowException) as error:
            raise BadTable(self.path, f"can't be read as Parquet: {error}") from error


def _cells(column: Any) -> Cells:
    from pyarrow import types

    kind = column.type
    if types.is_timestamp(kind):
        return column.cast("timestamp[ns]").to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
    if column.null_count == 0 and (types.is_integer(kind) or types.is_floating(kind)):
        return column.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
    return ["" if value is None else str(value) for value in column.to_pylist()]
