"""An unknown with identity."""

from __future__ import annotations

import uuid

from factorgraph.model.expression import Expression


class Variable(Expression):
    """An unknown number. Identity is the object: share the object to share the unknown.

    A bare variable has no prior ("unset"): it can be assigned, shared or drawn from a parent, and a graph in which it
    is still unset is refused.

    Parameters
    ----------
    name
        Optional; where a variable is named in a model its path there is used instead.

    Attributes
    ----------
    token : str
        32 hex digits that survive pickling and copying, so that a worker's variable can be matched with the original.
    """

    def __init__(self, name: str | None = None):
        self.name = name
        self.token = uuid.uuid4().hex

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})" if self.name else f"{type(self).__name__}()"
