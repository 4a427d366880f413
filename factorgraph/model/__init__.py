"""Models of unknowns: priors, relations, assertions, compositions of classes, and the structure of all of these."""
