"""Factors, the terms they make, and the plates in which like terms are stacked."""
