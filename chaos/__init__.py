"""Chaos: a whole stack in use by all kinds of people, while faults strike; afterwards everything must have ended well.

``python -m chaos --seed 7 --minutes 3``. ``docs/chaos.md`` says what it does and how to read what it prints.
"""
