"""Pictures of a factor graph: plates, factors, variables, relations and shaded data.

The walk is graph -> `collapse` -> `Scene` (replicates merged, one node a role) -> `layout` -> `Page` (everything
placed, in inches) -> `draw` (matplotlib: PDF, SVG, PNG). `to_dot` goes from the scene to DOT text instead. The package
knows node and edge attributes of a ``networkx.Graph`` (listed in `factorgraph.drawing.scene`) and nothing of models,
messages or fits. matplotlib and graphviz are loaded on first use.
"""

from factorgraph.drawing.dot import to_dot
from factorgraph.drawing.layout import layout
from factorgraph.drawing.picture import draw
from factorgraph.drawing.scene import Scene, collapse

__all__ = ["Scene", "collapse", "draw", "layout", "to_dot"]
