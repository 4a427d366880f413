"""Graphs built by hand from the documented attributes, for the tests of the pictures."""

from itertools import pairwise

import networkx as nx


class Sketch:
    """A graph under construction; every method returns the new node."""

    def __init__(self) -> None:
        self.graph = nx.Graph(plates={})

    def plate(self, name: str, size: int, label: str = "dataset", index: str = "i", parent: str | None = None) -> str:
        self.graph.graph["plates"][name] = {"size": size, "label": label, "index": index, "parent": parent}
        return name

    def node(self, kind: str, label: str, plate: str | None = None, **attributes) -> int:
        key = len(self.graph)
        defaults = {"latex": None, "role": label, "detail": "", "size": 1}
        self.graph.add_node(key, kind=kind, label=label, plate=plate, **(defaults | attributes))
        return key

    def variable(self, label: str, plate: str | None = None, **attributes) -> int:
        return self.node("variable", label, plate, **({"detail": "GaussianPrior(50, 10)"} | attributes))

    def relation(self, operator: str, operands: list[int], plate: str | None = None) -> int:
        key = self.node("relation", operator, plate, detail=operator)
        self.graph.add_edges_from(((o, key) for o in operands), role="operand")
        return key

    def analysis(self, name: str, reads: list[int], plate: str | None = None, **attributes) -> int:
        defaults = {"factor_kind": "analysis", "name": name, "role": "likelihood", "detail": "Analysis"}
        key = self.node("factor", name, plate, **(defaults | attributes))
        self.graph.add_edges_from(((v, key) for v in reads), role="reads")
        return key

    def parent(self, parameters: list[int], drawn: list[int], plate: str | None = None, **attributes) -> int:
        defaults = {"factor_kind": "hierarchical", "name": "parent", "role": "parent", "detail": "GaussianPrior"}
        key = self.node("factor", "parent", plate, **(defaults | attributes))
        self.graph.add_edges_from(((p, key) for p in parameters), role="parameter")
        self.graph.add_edges_from(((key, v) for v in drawn), role="drawn")
        return key


def population(size: int) -> nx.Graph:
    """Each centre is drawn from a parent with unknown mean and scatter."""
    s = Sketch()
    plate, mu, sigma = s.plate("plate", size), s.variable("mu"), s.variable("sigma", detail="UniformPrior(0, 30)")
    centres = []
    for i in range(size):
        local = [s.variable(name, plate) for name in ("centre", "normalization", "sigma")]
        centres.append(local[0])
        s.analysis(f"galaxy_{i:04d}", local, plate)
    s.parent([mu, sigma], centres)
    return s.graph


def shared_centre() -> nx.Graph:
    """Three datasets with one centre."""
    s = Sketch()
    plate, centre = s.plate("plate", 3), s.variable("centre")
    for i in range(3):
        s.analysis(f"dataset_{i}", [centre, s.variable("normalization", plate), s.variable("sigma", plate)], plate)
    return s.graph


def scaling_relation() -> nx.Graph:
    """theta_i ~ N(a + b * x_i, tau)."""
    s = Sketch()
    plate, a, b, tau = s.plate("plate", 40, "galaxy"), s.variable("a"), s.variable("b"), s.variable("tau")
    for i in range(40):
        mean = s.relation("+", [a, s.relation("*", [b], plate)], plate)
        theta = s.variable("theta", plate)
        s.parent([mean, tau], [theta], plate)
        s.analysis(f"g{i}", [theta], plate)
    return s.graph


def two_plates() -> nx.Graph:
    """Images and spectra that share variables."""
    s = Sketch()
    images, spectra = s.plate("image", 12, "image", "i"), s.plate("spectrum", 7, "spectrum", "j")
    shared = [s.variable(name) for name in ("redshift", "log_mass", "sigma_cal", "lambda_0")]
    for i in range(12):
        local = [s.variable("x", images), s.variable("y", images)]
        s.analysis(f"image_{i}", [*shared[:3], *local], images, detail="ImageAnalysis")
    for i in range(7):
        s.analysis(f"spectrum_{i}", [*shared[:2], shared[3], s.variable("continuum", spectra)], spectra)
    return s.graph


def many_shared(count: int = 40) -> nx.Graph:
    """Forty variables that every dataset reads."""
    s = Sketch()
    plate, shared = s.plate("plate", 20), [s.variable(f"theta_{i}") for i in range(count)]
    for i in range(20):
        s.analysis(f"d{i}", [*shared, s.variable("x", plate)], plate)
    return s.graph


def outside() -> nx.Graph:
    """A population, and two factors outside its plate that read its mean."""
    s = Sketch()
    s.graph = population(20)
    s.analysis("calibration", [0, s.variable("zeropoint"), s.variable("H0")], role="calibration")
    s.analysis("supernovae", [s.variable("M_B"), 0], role="supernovae", detail="Hubble diagram")
    return s.graph


def nested() -> nx.Graph:
    """Galaxies in clusters."""
    s = Sketch()
    clusters = s.plate("clusters", 4, "cluster", "c")
    galaxies = s.plate("galaxies", 12, "galaxy", "g", parent=clusters)
    mu, tau, sigma, masses = s.variable("mu"), s.variable("tau"), s.variable("sigma"), []
    for c in range(4):
        masses.append(s.variable("M", clusters))
        members = [s.variable("x", galaxies) for _ in range(3)]
        for k, x in enumerate(members):
            s.analysis(f"galaxy_{c}_{k}", [x], galaxies)
        s.parent([masses[-1], sigma], members, clusters, role="within")
    s.parent([mu, tau], masses)
    return s.graph


def chain() -> nx.Graph:
    """x_t ~ N(x_{t-1}, sigma): a cycle once replicates are merged."""
    s = Sketch()
    plate, sigma = s.plate("plate", 10, "epoch", "t"), s.variable("sigma")
    states = [s.variable("x", plate) for _ in range(10)]
    for i, x in enumerate(states):
        s.analysis(f"e{i}", [x], plate)
    for before, after in pairwise(states):
        s.parent([before, sigma], [after], plate)
    return s.graph


def pieces() -> nx.Graph:
    """Two unconnected graphs."""
    first, second = population(5), shared_centre()
    nx.set_node_attributes(second, {n: "other" for n, p in second.nodes(data="plate") if p}, "plate")
    union = nx.disjoint_union(first, second)
    union.graph["plates"] = first.graph["plates"] | {"other": second.graph["plates"]["plate"]}
    return union


STRANGE = [
    "$x_y^{z}",
    '<b>&"q"',
    "back\\slash]",
    "a_very_long_parameter_name_that_never_seems_to_end.sub.component",
    "naïve",
    "{brace}",
    "ends\\",
    "\\$",
    "new\nline",
    "",
]


def strange_names() -> nx.Graph:
    """Names with every character that DOT or mathtext would interpret."""
    s = Sketch()
    plate, shared = s.plate("plate", 7, 'a"<b>&\\]$_^{}'), [s.variable(n, role=(n, 0)) for n in STRANGE]
    for i in range(7):
        local = [s.variable(n, plate, role=(n, 1)) for n in ("gaussian.sigma", "exponential.sigma", "$")]
        s.analysis(f'd"<&>{i}', [*shared, *local], plate, detail="My<Analysis>$")
    return s.graph


STANDARD = {
    "population": population(5000),
    "few": population(5),
    "one": population(1),
    "shared_centre": shared_centre(),
    "scaling_relation": scaling_relation(),
    "two_plates": two_plates(),
    "many_shared": many_shared(),
    "outside": outside(),
    "nested": nested(),
    "chain": chain(),
    "pieces": pieces(),
    "strange_names": strange_names(),
}
