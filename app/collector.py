"""Python's garbage collector, in a process that lives long and makes many short-lived objects.

What a worker has loaded when it starts (Telethon's types above all) are 200,000 objects that stay. A full collection looks at
each of them, which stops the process for a tenth of a second, its event loop with all that waits there.
"""

from __future__ import annotations

import gc

_NEW_OBJECTS = 10_000
"""So many more objects than before are looked at together; Python's own 700 is a dozen connections."""


def keep_collector_off_the_code() -> None:
    """Let the collector leave alone what there is now, and come more seldom. Call it when the process has its parts."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
