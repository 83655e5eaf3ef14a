"""The collector: what a process has loaded when it starts is not looked at again."""

from __future__ import annotations

import subprocess
import sys

_LOOK = """
import gc
before = gc.get_threshold()
from app.collector import keep_collector_off_the_code
keep_collector_off_the_code()
class Node: pass
node = Node(); node.itself = node; left = __import__("weakref").ref(node); del node
gc.collect()
print(gc.get_freeze_count() > 1000, gc.get_threshold()[0] > before[0], left() is None)
"""


def test_loaded_code_is_left_alone_and_new_rubbish_is_not() -> None:
    """In a process of its own: it is for good."""
    answer = subprocess.run([sys.executable, "-c", _LOOK], capture_output=True, text=True, timeout=30, check=True)
    assert answer.stdout.split() == ["True", "True", "True"]
