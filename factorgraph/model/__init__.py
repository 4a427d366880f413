"""Models of unknowns: priors, relations, assertions, compositions of classes, and the hashable structure of all of these."""
