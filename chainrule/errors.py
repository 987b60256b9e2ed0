"""The one error type: what was given, why it is wrong and what is allowed, what to do next."""

EXIT_STATUS = {
    # sysexits(3), so that scripts can tell a typo from a full disk
    "E1": 65,  # a model file that cannot be used: EX_DATAERR
    "E2": 74,  # the disk: EX_IOERR
    "E3": 65,  # data: EX_DATAERR
    "E4": 78,  # a setting: EX_CONFIG
    "E5": 70,  # the computation: EX_SOFTWARE
    "E6": 2,  # a claim that cannot be decided as asked
    "E7": 69,  # a service or a library that is not there: EX_UNAVAILABLE
    "E301": 69,  # a dataset that could not be fetched
    "E305": 69,  # a dataset that is not here
    "E204": 73,  # a store that cannot be created: EX_CANTCREAT
}


class ChainruleError(Exception):
    """A mistake that the user can mend, told in three full sentences.

    It derives from ``Exception``: msgspec turns a ``ValueError`` raised in ``__post_init__`` into its own
    ``ValidationError``, and the three parts would be lost.

    Args:
        code: ``E`` and three digits; the first digit is the area (see ``EXIT_STATUS``).
        what: What was given, values by ``repr``.
        why: Why it cannot be used, and what is allowed.
        fix: What to do next.

    Example:
        >>> print(ChainruleError("E401", "lr=-1 is not a learning rate.", "It must be positive.", "lr=0.1"))
        error E401: lr=-1 is not a learning rate.
          It must be positive.
          fix: lr=0.1
    """

    def __init__(self, code: str, what: str, why: str, fix: str) -> None:
        super().__init__(code, what, why, fix)
        self.code, self.what, self.why, self.fix = code, what, why, fix

    def __str__(self) -> str:
        """The three lines that the command line prints."""
        return f"error {self.code}: {self.what}\n  {self.why}\n  fix: {self.fix}"

    @property
    def exit_status(self) -> int:
        """The exit status of a command that ends with this error (sysexits)."""
        return EXIT_STATUS.get(self.code, EXIT_STATUS[self.code[:2]])
