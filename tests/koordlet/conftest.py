import logging

import pytest

from koordinator.clock import ManualClock
from koordinator.koordlet.notices import Notices
from koordlet.trees import Tree


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def tree(request, tmp_path):
    """A machine's files below a temporary directory, once with each cgroup version."""
    made = Tree(tmp_path, request.param)
    yield made
    made.hot.close()


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def notices():
    return Notices(logging.getLogger("koordlet.test"))
