"""Errors that cross agents."""

from messages.errors import Fatal


class SettingsError(Fatal):
    """Raised when the settings can't be used: a wrong key, unit or value."""

    def __init__(self, where: str, detail: str) -> None:
        super().__init__(f"settings {where}: {detail}; `tickpilot init` prints a commented example")
        self.where, self.detail = where, detail
