"""Two real cells, the service over them, and an office that orders over REST."""

from collections.abc import Iterator

import pytest

from tests import cells as real
from tests.cell.office import Office, office_of
from tests.cell.service import Service, running_service
from tests.cells import Cells
from tests.spares import Spares


@pytest.fixture(scope="session")
def cells() -> Cells:
    return real.cells()


@pytest.fixture(scope="session")
def service(cells: Cells, spares: Spares) -> Iterator[Service]:
    with spares.taken() as database_url, running_service(cells, database_url) as service:
        yield service


@pytest.fixture(scope="module")
def office(service: Service, cells: Cells) -> Iterator[Office]:
    """One customer for all tests of a file; whoever needs people for himself orders them."""
    with office_of(service.api, cells) as office:
        yield office
