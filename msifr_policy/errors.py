"""Errors of the toolkit: each says what is wrong, where, and what to do about it."""


class MsifrError(Exception):
    """Base class of every error this project raises on purpose."""


class InputError(MsifrError, ValueError):
    """Bad input from a user: a file, a record, a probability, an option.

    `what` is wrong, `where` it was found (file, line, field, stage, state) and the `remedy`.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        message = f"{where}: {what}" if where else what
        if remedy and ("(" in remedy or message.endswith(")")):
            message = f"{message}; {remedy}"  # brackets in brackets are hard to read
        elif remedy:
            message = f"{message} ({remedy})"
        super().__init__(message)
