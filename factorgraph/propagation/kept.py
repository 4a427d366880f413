"""The named tuples of which results of costly pieces are made, see `factorgraph.checkpoint`."""

from __future__ import annotations

from factorgraph.propagation.afresh import Afresh
from factorgraph.propagation.inner import LocalPosterior
from factorgraph.propagation.joint import Conditional
from factorgraph.propagation.population import Nodes
from factorgraph.propagation.searched import Searched
from searches.adaptive_importance import Adaptation
from searches.mixture import Mixture

KEPT_CLASSES: tuple[type, ...] = (Adaptation, Afresh, Conditional, LocalPosterior, Mixture, Nodes, Searched)
