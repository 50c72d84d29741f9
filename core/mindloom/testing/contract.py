"""What every plugin must hold to, as tests to inherit."""

from __future__ import annotations

from .contract_errors import Errors
from .contract_promises import Promises
from .contract_training import Training


class PluginContract(Promises, Training, Errors):
    """The tests that every plugin passes, for pytest. Subclass it once for each plugin::

        class TestPets(PluginContract):
            plugin = Pets

    Everything else has a default (see ``Terms``), and is set, or overridden, where the plugin needs it: a dataset
    format brings samples (``task = Pictures`` and ``data``), a plugin that changes attention a task that has attention.
    The tests of a class share their runs, half a dozen in all: a plugin on the toy task takes about three seconds.
    """
