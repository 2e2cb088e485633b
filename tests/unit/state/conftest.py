"""Services that are fakes, for one test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from state_kit import FakeServices

from app.services.container import set_services


@pytest.fixture
def services() -> Iterator[FakeServices]:
    """The process's services for one test."""
    fake = FakeServices()
    set_services(fake)  # type: ignore[arg-type]
    yield fake
    set_services(None)
