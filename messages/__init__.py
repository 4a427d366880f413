"""Exponential families and their algebra: what a factor sends to a variable.

The package knows densities, natural parameters and moments. It refuses to know about graphs, models, searches and
files. Import what you need from its modules (``from messages.normal import Normal``); the package itself imports
nothing.
"""
