"""CSV and CSV.gz files, with the standard library alone."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from operator import itemgetter
from typing import TextIO

from agents.feed.cells import Cells
from agents.feed.errors import BadTable

_CHUNK_ROWS = 1024  # small enough to stay in the cache and out of the collector's way


class CsvReader:
    """One file. `names` are the columns' where it has no header line. Empty lines are passed over."""

    def __init__(self, path: str, *, names: Sequence[str] = (), delimiter: str = ",") -> None:
        self.path = path
        self._names = tuple(names)
        self._delimiter = delimiter

    def columns(self) -> tuple[str, ...]:
        if self._names:
            return self._names
        with self._open() as file:
            first = next(filter(None, csv.reader(file, delimiter=self._delimiter)), None)
        if first is None:
            raise BadTable(self.path, "the file is empty")
        return tuple(name.strip() for name in first)

    def chunks(self, wanted: Sequence[str]) -> Iterator[list[Cells]]:
        header = self.columns()
        take = [itemgetter(header.index(column)) for column in wanted]
        done = 0
        with self._open() as file:
            rows = self._rows(file)
            while chunk := list(islice(rows, _CHUNK_ROWS)):
                if set(map(len, chunk)) != {len(header)}:
                    odd = next(index for index, row in enumerate(chunk) if len(row) != len(header))
                    raise self._ragged(done + odd, len(chunk[odd]), len(header))
                columns = list(zip(*chunk, strict=False))  # checked above
                yield [pick(columns) for pick in take]
                done += len(chunk)

    def place(self, row: int) -> str:
        with self._open() as file:
            reader = csv.reader(file, delimiter=self._delimiter)
            skip = 0 if self._names else 1
            next(islice(filter(None, reader), skip + row, None), None)
            return f"line {reader.line_num}"

    def _rows(self, file: TextIO) -> Iterator[list[str]]:
        rows = filter(None, csv.reader(file, delimiter=self._delimiter))
        return rows if self._names else islice(rows, 1, None)

    def _ragged(self, row: int, found: int, expected: int) -> BadTable:
        return BadTable(
            self.path, f"{self.place(row)} has {found} cells, the header {expected}; correct or remove the row"
        )

    @contextmanager
    def _open(self) -> Iterator[TextIO]:
        try:
            with (
                gzip.open(self.path, "rt", encoding="utf-8-sig", newline="")
                if self.path.endswith(".gz")
                else open(self.path, encoding="utf-8-sig", newline="")  # noqa: PTH123 - the same call for both
            ) as file:
                yield file
        except (OSError, EOFError, zlib.error) as error:
            raise BadTable(self.path, f"can't be read: {error}") from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise BadTable(self.path, f"is not CSV in UTF-8: {error}") from error
