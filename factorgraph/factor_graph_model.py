"""`FactorGraphModel`: factors joined through the variables they share, and the two ways to solve them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from factorgraph import drawing
from factorgraph.analysis import Analysis
from factorgraph.checkpoint.folder import opened
from factorgraph.checkpoint.manifest import manifest_of
from factorgraph.checkpoint.share import Share
from factorgraph.contracted import Contracted
from factorgraph.distributed.workers import Workers
from factorgraph.errors import DatasetsLeftOut, GraphError, UnknownArgument, name_hint
from factorgraph.graph.enumeration import enumerated
from factorgraph.graph.expansion import expanded_plates
from factorgraph.graph.factors import AnalysisFactor, HierarchicalFactor
from factorgraph.graph.names import dataset_names_of, names_of
from factorgraph.graph.network import network_of
from factorgraph.graph.plates import Plate, SharedVariable, plates_of, shared_variables_of
from factorgraph.graph.revision import extended, families_left, reduced
from factorgraph.graph.survey import Plate as DeclaredPlate
from factorgraph.graph.survey import PlateRow
from factorgraph.graph.terms import Terms, terms_of
from factorgraph.model.collection import Collection
from factorgraph.model.covariate import covariates_in
from factorgraph.model.expression import is_number
from factorgraph.model.info import info_of
from factorgraph.model.structure import structure_of
from factorgraph.model.variable import Variable
from factorgraph.propagation.contracted import Lane
from factorgraph.propagation.earlier import Earlier
from factorgraph.propagation.kept import KEPT_CLASSES
from factorgraph.propagation.lanes import lane_of
from factorgraph.propagation.optimise import Settings, solve
from factorgraph.propagation.resources import Resources
from factorgraph.results.result import Result

_MOST_REASONS = 5


class GlobalPriorModel(Collection):
    """The models of all factors, in order, then the parents' parameters: what one search over the whole graph
    explores."""

    @property
    def _label(self) -> str:
        return "GlobalPriorModel"


class FactorGraphModel(Analysis):
    """A factor graph.

    Parameters
    ----------
    *factors
        `AnalysisFactor`, `Plate` and `HierarchicalFactor` objects. Variables are shared by being the same object.
    name
        For results and pictures.
    families
        The family of messages of shared variables, by variable, in place of the default one. Normal distributions of
        a transform, correlated with the other variables: ``"normal"``, ``"log-normal"`` or ``"softplus-normal"`` (a
        half line), ``"logit-normal"`` (an interval). Or a distribution of the variable itself, independent of all
        others in EP's answer: ``"gamma"`` or ``"inverse-gamma"`` (a half line; of the distance from its limit),
        ``"beta"`` (an interval; of the fraction of it), which are exact where all factors are conjugate to them.

    Raises
    ------
    GraphError
        No dataset, two datasets of one name, a variable without a prior, drawn twice, or read by no factor; a family
        that a variable cannot have.

    Notes
    -----
    The graph is an `Analysis`: its log likelihood is the sum over the datasets, so any search takes it together with
    `global_prior_model`. `optimise` solves it by expectation propagation instead.
    """

    def __init__(
        self,
        *factors: AnalysisFactor | HierarchicalFactor | DeclaredPlate,
        name: str | None = None,
        families: Mapping[Variable, str] | None = None,
    ) -> None:
        super().__init__()
        for factor in factors:
            if not isinstance(factor, (AnalysisFactor, HierarchicalFactor, DeclaredPlate)):
                is_list = isinstance(factor, (list, tuple))
                hint = " Unpack a list with *: FactorGraphModel(*factors)." if is_list else ""
                raise GraphError(
                    f"FactorGraphModel: got {type(factor).__name__}; AnalysisFactor, Plate and HierarchicalFactor "
                    f"are allowed.{hint}"
                )
        self.name = name
        parents = dict.fromkeys(f for f in factors if isinstance(f, HierarchicalFactor))
        given = [f for f in factors if not isinstance(f, HierarchicalFactor)]
        datasets, self.hierarchical_factors, self.rows = expanded_plates(given, tuple(parents))
        self._given, self._given_names = factors, dataset_names_of(datasets)
        self.factors = enumerated(datasets, dataset_names_of(datasets), self.hierarchical_factors)
        if not self.factors:
            raise GraphError("FactorGraphModel: there is no dataset; pass at least one AnalysisFactor or Plate.")
        self.terms: Terms = terms_of(self.factors, self.hierarchical_factors, families)

    # --- what it is made of ---

    @property
    def dataset_names(self) -> tuple[str, ...]:
        """One name an `AnalysisFactor`."""
        return dataset_names_of(self.factors)

    @cached_property
    def names(self) -> dict[Variable, str]:
        """Readable names of the variables; unique for shared ones, the path in their model for private ones."""
        return names_of(self.terms, self.factors, self.hierarchical_factors)

    @cached_property
    def shared(self) -> tuple[SharedVariable, ...]:
        """The shared variables, in the order of every vector and matrix over them."""
        return shared_variables_of(self.terms)

    @cached_property
    def plates(self) -> tuple[Plate, ...]:
        """Like terms, found without being asked."""
        return plates_of(self.terms, self.shared)

    @cached_property
    def lanes(self) -> tuple[Lane, ...]:
        """How each plate's likelihood is evaluated: traced by JAX, or called plainly, and why."""
        return self._lanes_by(Workers())

    def _lanes_by(self, workers: Workers) -> tuple[Lane, ...]:
        """`lanes`; likelihoods that are called plainly are tried by the ``workers``."""
        if "lanes" not in self.__dict__:
            self.__dict__["lanes"] = tuple(lane_of(plate, workers) for plate in self.plates)
        return self.__dict__["lanes"]

    @cached_property
    def global_prior_model(self) -> GlobalPriorModel:
        """All unknowns of the graph as one model, for a search over the summed log likelihood."""
        models = [factor.prior_model for factor in self.factors]
        parents = [
            {name: self._of_graph(value) for name, value in parameters.items()} for parameters in self._parameters
        ]
        return GlobalPriorModel([*models, *(Collection(p) for p in parents if p)])

    @property
    def _parameters(self) -> list[dict[str, Any]]:
        """Those of each parent that are unknown."""
        return [
            {name: value for name, value in parent.named_parameters.items() if not is_number(value)}
            for parent in self.hierarchical_factors
        ]

    def _of_graph(self, parameter: Any) -> Any:
        """A parent's parameter; its unknowns where it is another number in every dataset of a declared plate."""
        _, variables, constants = structure_of(parameter)
        if not covariates_in(constants) and not any(v in self.rows for v in variables):
            return parameter
        return [variable for variable in variables if variable not in self.rows]

    @property
    def _shown_model(self) -> GlobalPriorModel:
        """`global_prior_model` with one model for all rows of a declared plate."""
        models: dict[int, Any] = {}
        for factor in self.factors:
            if isinstance(factor, PlateRow):
                models.setdefault(id(factor.template), factor.template.model)
            else:
                models[id(factor)] = factor.prior_model
        return GlobalPriorModel([*models.values(), *(Collection(p) for p in self._parameters if p)])

    @property
    def info(self) -> str:
        """The composition of the whole graph, how many datasets each plate has, and how their likelihoods are
        evaluated."""
        lines = [info_of(self._shown_model, "GlobalPriorModel"), ""]
        for plate, lane in zip(self.plates, self.lanes, strict=True):
            if plate.signature.analyses:
                classes = ", ".join(cls.__name__ for cls in plate.signature.analyses)
                how = {"jax": "JAX", "draws": "draws"}.get(lane.name, f"plain calls ({lane.reason})")
                lines.append(f"plate of {plate.size:,} {classes}: {how}")
        return "\n".join(lines)

    @cached_property
    def networkx(self) -> Any:
        """The bipartite ``networkx.Graph``; see `factorgraph.graph.network` for its attributes."""
        names = {id(factor): name for factor, name in zip(self.factors, self.dataset_names, strict=True)}
        return network_of(self.terms, self.plates, self.names, names)

    def draw(self, path: str | Path, **options: Any) -> Path:
        """Write a picture of the graph, ``.pdf``, ``.svg`` or ``.png``; see `factorgraph.drawing.draw` for the
        options."""
        return drawing.draw(self.networkx, path, **options)

    def to_dot(self, **options: Any) -> Any:
        """The graph in the DOT language, a ``graphviz.Digraph``; its ``source`` needs no program."""
        return drawing.to_dot(self.networkx, **options)

    # --- with other datasets ---

    def extended(self, new_factors: Any) -> FactorGraphModel:
        """The graph with more datasets: an `AnalysisFactor`, a `Plate`, or a list of these, with new
        `HierarchicalFactor` objects among them. The parents draw what has been added to them since.

        Raises
        ------
        GraphError
            Nothing new, or a dataset that is there already, or has the name of one.
        """
        return self._made_of(extended(self._given, self._given_names, new_factors))

    def without(self, names: Iterable[str] | str) -> FactorGraphModel:
        """The graph without the datasets of these names. The others keep theirs.

        Raises
        ------
        GraphError
            A name that there is not, or the names of all.
        """
        return self._made_of(reduced(self._given, self._given_names, self.factors, names))

    def _made_of(self, factors: Sequence[Any]) -> FactorGraphModel:
        families = families_left(factors, self.terms.families)
        return FactorGraphModel(*factors, name=self.name, families=families)

    # --- the two ways to solve it ---

    def log_likelihood_function(self, instance: Any) -> float:
        """Sum of the datasets' log likelihoods at an instance of `global_prior_model`, nats."""
        pairs = zip(self.factors, list(instance)[: len(self.factors)], strict=True)
        return sum(factor.analysis.log_likelihood_function(child) for factor, child in pairs)

    @cached_property
    def contracted(self) -> Contracted:
        """The graph with its private variables integrated out, for a search over the few shared ones; see
        `Contracted`."""
        return Contracted(self)

    def _manifest(self, settings: Settings, optimiser: Any) -> dict[str, Any]:
        """What the numbers of a run depend on."""
        named = {name: getattr(settings, name) for name in Settings.__dataclass_fields__}
        return manifest_of(self.terms, self.shared, self.plates, self.names, named, optimiser)

    def optimise(
        self,
        optimiser: Any = None,
        *,
        strict: bool = False,
        checkpoint: str | Path | Share | None = None,
        devices: Sequence[Any] | None = None,
        block_size: int | None = None,
        earlier: Result | None = None,
        executor: Any = None,
        **settings: Any,
    ) -> Result:
        """Solve the graph by expectation propagation.

        Parameters
        ----------
        optimiser
            How private variables are explored, for factors that name no ``optimiser`` of their own; by default adaptive
            importance sampling.
        strict
            Raise where a dataset has to be left out; by default it is named in ``result.quarantined``, with a warning.
        checkpoint
            A folder in which all that cost time is kept while the run goes on. A run that was killed, at whatever
            moment, is started again with the same script: it takes what is there and ends with the same result, bit
            by bit. See `docs/checkpoints.md`.
        devices
            JAX devices among which the datasets of a large plate are divided, whose likelihood JAX can trace; by
            default all local ones.
        block_size
            How many such datasets one device works on together, a multiple of 8; by default as many as fit well.
        earlier
            The result of a graph that has datasets in common with this one: what it explored of these is not explored
            again. `Result.update` and `Result.without` are made of this. See `docs/streaming.md`.
        executor
            Who calls likelihoods that JAX cannot trace, a dataset at a time: any `concurrent.futures.Executor`, such as
            `SpawnPool` or Dask's ``client.get_executor()``; by default this process. The answer does not depend on it.
            A dataset whose worker dies, or does not end in time, is left out. Likelihoods that JAX can trace do
            not use it. See `docs/many_machines.md`.
        **settings
            Of `factorgraph.propagation.optimise.Settings`: ``seed``, ``max_steps``, ``min_steps``, ``tolerance``,
            ``damping``, ``power``, ``correct``, ``schedule``, ``batch``, ``delay``, ``blocks``, ``single_precision``.

        Returns
        -------
        Result
            Also when something failed: each dataset has a status, and a run that did not settle says so.

        Raises
        ------
        CheckpointError
            The folder is in use, cannot be written to, or belongs to a run that differs: which says in what.
        DatasetsLeftOut
            With ``strict``: names the datasets and the reasons; its ``result`` is that of all others.
        """
        allowed = [
            *Settings.__dataclass_fields__,
            "strict",
            "checkpoint",
            "devices",
            "block_size",
            "earlier",
            "executor",
        ]
        for name in settings:
            if name not in allowed:
                raise UnknownArgument(f"optimise() has no setting {name!r}.{name_hint(name, allowed)}")
        chosen, kept = Settings(**settings), _kept_of(earlier, checkpoint)
        if executor is not None and isinstance(checkpoint, Share):
            raise GraphError("optimise: executor= and a share of a run both divide the work; give one of them.")
        workers = Workers(executor)
        resources = Resources(
            devices=None if devices is None else tuple(devices), block_size=block_size, workers=workers
        )
        try:
            graph = (self.terms, self.shared, self.plates, self._lanes_by(workers))
            if checkpoint is None:
                solution = solve(*graph, chosen, optimiser, resources, kept)
            else:
                with opened(checkpoint, self._manifest(chosen, optimiser), KEPT_CLASSES) as journal:
                    solution = solve(*graph, chosen, optimiser, replace(resources, journal=journal))
        finally:
            workers.close()
        asked = {"optimiser": optimiser, "devices": devices, "block_size": block_size, "strict": strict, **settings}
        result = Result.from_solution(self, solution, asked)
        if strict and result.quarantined:
            reasons = "; ".join(
                f"{name}: {reason}" for name, reason in islice(result.quarantined.items(), _MOST_REASONS)
            )
            raise DatasetsLeftOut(
                f"optimise(strict=True): {len(result.quarantined)} of {len(result.status)} datasets cannot be used "
                f"({reasons}). Mend or remove them, or let them be left out with strict=False; the result without them "
                "is the `result` of this error.",
                result,
            )
        return result


def _kept_of(earlier: Any, checkpoint: Any) -> Earlier | None:
    """What an ``earlier`` result knows of datasets.

    Raises
    ------
    GraphError
        It is none of `optimise`, or there is a checkpoint as well.
    """
    if earlier is None:
        return None
    if not isinstance(earlier, Result):
        raise GraphError(
            f"optimise(earlier=...): got {type(earlier).__name__}; the Result of another graph's optimise() is needed, "
            "which keeps what its datasets are known by."
        )
    if checkpoint is not None:
        raise GraphError(
            "optimise: earlier= and checkpoint= exclude each other; a folder holds a run that began from nothing."
        )
    return earlier.kept
