"""The one exception that is shown to the user as a single line."""


class UserError(Exception):
    """Something the user can put right: the message says what is wrong, where, and what was expected."""
