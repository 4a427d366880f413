"""Published data sets as graphs, each beside its reference posterior; one module a data set."""
