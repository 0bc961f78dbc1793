"""Which tests may run at once (`pytest -n 2`): those of one file stay together, for what they share, and all that drive
a browser do, for the pictures that it has to paint meanwhile."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        alone = item.get_closest_marker("browser") is not None
        item.add_marker(pytest.mark.xdist_group("browser" if alone else item.nodeid.split("::")[0]))
