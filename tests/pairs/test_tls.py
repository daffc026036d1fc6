"""Every pair of public calls from two threads, over TLS."""

from __future__ import annotations

import pytest
from pairs.racing import PAIRS, Race

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
COUNT = 1000


@pytest.fixture(scope="module")
def race(certificate, tmp_path_factory):
    with Race("tls", certificate, tmp_path_factory.mktemp("race")) as race:
        yield race


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_a_pair(race, pair):
    """It ends in answers and errors of ours, and no other connection is touched."""
    race.failures.clear()
    race.run(pair, COUNT)
    assert race.failures == []
