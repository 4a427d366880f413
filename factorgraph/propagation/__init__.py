"""Expectation propagation over the contracted graph: explore, start, sweep, correct, report."""
