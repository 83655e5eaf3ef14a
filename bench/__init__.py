"""Benchmarks: each measures against a peer in the same run. ``make bench`` runs all and writes ``bench/results.json``."""
