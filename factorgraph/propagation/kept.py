"""The named tuples of which results of costly pieces are made, see `factorgraph.checkpoint`."""

from __future__ import annotations

from factorgraph.propagation.afresh import Afresh
from factorgraph.propagation.host_dataset import Calls, Outcome
from factorgraph.propagation.inner import LocalPosterior
from factorgraph.propagation.joint import Conditional
from factorgraph.propagation.population import Nodes
from factorgraph.propagation.searched import Searched
from searches.adaptive_importance import Adaptation
from searches.mixture import Mixture

_EXPLORED: tuple[type, ...] = (Adaptation, Calls, Conditional, Mixture, Nodes, Outcome, Searched)
KEPT_CLASSES: tuple[type, ...] = (*_EXPLORED, Afresh, LocalPosterior)
