"""Many processes and many machines: pools that survive their workers, and how a run uses any executor."""
