"""Postfix in a cell: where root starts it, since its master runs as nobody else."""

from provisioning.cell.layout import Cell
from provisioning.cell.processes import Daemon


def is_possible() -> bool:
    return False


def postfix(cell: Cell) -> Daemon:
    raise NotImplementedError(cell.name)
