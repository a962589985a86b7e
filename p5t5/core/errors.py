"""The one error that means: the input is at fault, not the program."""


class UserError(ValueError):
    """What is wrong, where (file, row, column, option), what to do. Commands print it as one line and exit with 2."""
