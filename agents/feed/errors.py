"""What a source refuses: each text names the file, the place and what to do."""

from messages.errors import Refused


class FeedRefused(Refused):
    """Raised when market data can't be read or understood; nothing of the source is used."""


class BadTable(FeedRefused):
    """Raised when a file can't be opened, or its columns are not those of quotes, trades or bars."""

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"{path}: {detail}")
        self.path, self.detail = path, detail


class BadCell(FeedRefused):
    """Raised when one value of a file is not what its column should hold."""

    def __init__(self, path: str, place: str, column: str, value: object, expected: str) -> None:
        super().__init__(f"{path}, {place}, column {column}: {value!r} is not {expected}; correct or remove the row")
        self.path, self.place, self.column, self.value, self.expected = path, place, column, value, expected


class MissingExtra(FeedRefused):
    """Raised when reading a format needs a package that is not installed."""

    def __init__(self, path: str, package: str, extra: str) -> None:
        super().__init__(f"{path}: reading it needs {package}; install tickpilot[{extra}]")
        self.path, self.package, self.extra = path, package, extra
