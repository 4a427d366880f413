"""Sphinx configuration: MyST pages, executed; warnings are errors (`make docs`)."""

from importlib.metadata import version as version_of

project = "factorgraph"
author = "The factorgraph developers"
copyright = "2026, the factorgraph developers"  # noqa: A001 (the name Sphinx reads)
version = release = version_of("factorgraph-ep")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "jupyter_execute"]
html_theme = "furo"
html_title = "factorgraph"

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 180
nb_execution_in_temp = True  # cells write no files into the sources

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = False
napoleon_use_rtype = False
