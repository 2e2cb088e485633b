"""One paper exchange process for the tests that only talk to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from paper_kit import Paper, PaperProcess


@pytest.fixture(scope="session")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paper]:
    """A running exchange with synthetic BTCUSDT and ETHUSDT."""
    process = PaperProcess(tmp_path_factory.mktemp("paper"), limits="off")
    yield process.start()
    assert process.stop() == 0
