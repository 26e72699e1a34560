"""What can go wrong in bringing a cell up or down; the message names the fix."""


class CellError(Exception):
    """Shown to whoever typed the command, without a traceback."""
