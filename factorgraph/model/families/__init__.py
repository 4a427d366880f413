"""Distributions a prior may have, one contract (`contract`) and a few files of members."""
