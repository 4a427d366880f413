"""Simulation-based calibration: whether a graph's posteriors hold the truths its own priors make."""
