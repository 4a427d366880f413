"""The user's side of a dataset: an `Analysis` holds the data and says how likely a model instance makes them."""

from __future__ import annotations

from typing import Any

from factorgraph.errors import LikelihoodError


class Visualizer:
    """Static hooks that draw a fit; a subclass of `Analysis` names its own in the class attribute ``Visualizer``."""

    @staticmethod
    def visualize_before_fit(analysis: Any, paths: Any, model: Any) -> None:
        """Called once before a search."""

    @staticmethod
    def visualize(analysis: Any, paths: Any, instance: Any, during_analysis: bool) -> None:
        """Called with the best instance so far."""


class Analysis:
    """A dataset and its log likelihood.

    A subclass stores what it likes on ``self`` and implements `log_likelihood_function`; it need not call
    ``super().__init__()``. Numeric arrays and floats among its attributes are data, which may differ from one dataset
    of a plate to the next; integers, booleans, strings and other objects are settings, which like datasets must have
    in common.

    Parameters
    ----------
    use_jax
        True insists that the likelihood can be traced by JAX: where it cannot, compiling the graph raises. Otherwise
        it is tried, and a likelihood that cannot be traced is evaluated by plain calls.
    use_jax_for_visualization
        Kept for the visualizer.
    """

    use_jax: bool = False
    use_jax_for_visualization: bool = False
    Visualizer = Visualizer
    Result: type | None = None

    def __init__(self, use_jax: bool = False, use_jax_for_visualization: bool = False) -> None:
        self.use_jax = use_jax
        self.use_jax_for_visualization = use_jax_for_visualization

    def log_likelihood_function(self, instance: Any) -> float:
        """Log likelihood of the data given ``instance``, nats; a scalar."""
        raise LikelihoodError(
            f"{type(self).__name__} has no likelihood: define log_likelihood_function(self, instance), "
            "returning a float."
        )


def data_of(analysis: Any) -> dict[str, Any]:
    """The attributes of an analysis by name: what a plate stacks (arrays, floats) or compares (all else)."""
    slots = [name for cls in type(analysis).__mro__ for name in getattr(cls, "__slots__", ())]
    attributes = {name: getattr(analysis, name) for name in slots if hasattr(analysis, name)}
    return attributes | getattr(analysis, "__dict__", {})


def analysis_from(cls: type, data: dict[str, Any]) -> Any:
    """An analysis of class ``cls`` with the attributes ``data``, made without calling its constructor."""
    analysis: Any = object.__new__(cls)
    for name, value in data.items():
        object.__setattr__(analysis, name, value)
    return analysis
