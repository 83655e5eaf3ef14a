"""Tests whose stack is their own, with other settings."""
