"""From plain names to typeset labels: ``sigma_c`` in plate i becomes an italic sigma with subscript "c, i".

Two outputs from one parse: matplotlib mathtext and the HTML-like labels of DOT. Every character that either language
would interpret is escaped, so a name may contain anything.
"""

import html
import re
from dataclasses import dataclass, replace

_NAMES = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi "
    "omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
)
GREEK = dict(zip(_NAMES.split(), "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ", strict=True))
OPERATORS = {
    "*": "×",
    "/": "÷",
    "-": "−",
    "neg": "−",
    "**": "^",
    "pow": "^",
    "add": "+",
    "sub": "−",
    "mul": "×",
    "truediv": "÷",
    "sum": "+",
    "multiple": "×",
}
_SYMBOL = re.compile(r"([^\W\d_]+)(\d*)((?:_[^\W_]+)*)_?")
_TRAILING_SUBSCRIPT = re.compile(r"(.+)_(\{[^{}]*\}|\\[A-Za-z]+|[A-Za-z0-9])")
MAX_LINES = 3


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of text; `symbol` says that it is one letter of mathematics, `subscripts` and `index` hang from its end."""

    text: str
    symbol: bool = False
    subscripts: tuple[str, ...] = ()
    index: str = ""


def parse(label: str, index: str = "") -> tuple[Piece, ...]:
    """Split a dotted name into symbols, words and subscripts; the plate `index` is the last subscript."""
    components = printable(label).split(".")
    pieces: list[Piece] = []
    for number, component in enumerate(components):
        if number:
            pieces.append(Piece("."))
        pieces.append(_piece(component))
    return (*pieces[:-1], replace(pieces[-1], index=index))


def _piece(component: str) -> Piece:
    match = _SYMBOL.fullmatch(component)
    if match is None:
        return Piece(component)
    stem, digits, tail = match.groups()
    tokens = tuple(t for t in (digits, *tail.split("_")) if t)
    readable = len(tokens) <= 2 and sum(map(len, tokens)) <= 10
    if (stem in GREEK or len(stem) == 1) and readable:
        return Piece(stem, True, tokens)
    if not digits and tokens and tokens[-1].isdigit():
        return Piece("_".join((stem, *tokens[:-1])), False, tokens[-1:])
    return Piece(component)


def printable(text: str) -> str:
    """`text` on one line, control characters replaced by spaces."""
    return re.sub(r"[\x00-\x1f\x7f\u2028\u2029]+", " ", text).strip()


def mathtext(label: str, *, latex: str | None = None, index: str = "") -> str:
    """One line of matplotlib mathtext for a name, or for the user's own `latex` (with or without dollars)."""
    if latex is not None:
        return f"${_latex_with_index(latex.strip().strip('$'), index)}$"
    return "".join(_mathtext_piece(piece) for piece in parse(label, index))


def _latex_with_index(latex: str, index: str) -> str:
    if not index:
        return latex
    match = _TRAILING_SUBSCRIPT.fullmatch(latex)
    if match is None:
        return f"{latex}_{{{index}}}"
    stem, subscript = match.groups()
    return f"{stem}_{{{subscript.removeprefix('{').removesuffix('}')},{index}}}"


def _mathtext_piece(piece: Piece) -> str:
    subscripts = ",".join([*map(_mathtext_token, piece.subscripts), *filter(None, [piece.index])])
    below = f"_{{{subscripts}}}" if subscripts else ""
    if piece.symbol:
        return f"${_mathtext_token(piece.text)}{below}$"
    return literal(piece.text) + (f"${below}$" if below else "")


def _mathtext_token(token: str) -> str:
    if token in GREEK:
        return rf"\{token}"
    return token if len(token) == 1 or token.isdigit() else rf"\mathrm{{{token}}}"


def literal(text: str) -> str:
    """`text` as matplotlib prints it verbatim."""
    return printable(text).replace("$", r"\$")


def wrapped(text: str, columns: int) -> list[str]:
    """Lines of at most `columns` characters, broken after ``. _ - , (`` or a space, at most `MAX_LINES` of them."""
    parts = re.findall(r"[^._\-, (]*[._\-, (]?", text)
    chunks = [part[k : k + columns] for part in parts for k in range(0, len(part), columns)]
    lines = [""]
    for chunk in chunks:
        if len(lines[-1]) + len(chunk) > columns and lines[-1]:
            lines.append("")
        lines[-1] += chunk
    lines = [line.strip() for line in lines]
    if len(lines) > MAX_LINES:
        lines = [*lines[: MAX_LINES - 1], lines[MAX_LINES - 1][: columns - 1] + "…"]
    return lines


def html_label(label: str, index: str = "") -> str:
    """HTML-like label text of DOT (without the outer angle brackets)."""
    return "".join(_html_piece(piece) for piece in parse(label, index))


def _html_piece(piece: Piece) -> str:
    text = html.escape(GREEK.get(piece.text, piece.text) if piece.symbol else piece.text)
    subscripts = [html.escape(GREEK.get(s, s)) for s in piece.subscripts] + [f"<i>{i}</i>" for i in [piece.index] if i]
    below = f"<sub>{','.join(subscripts)}</sub>" if subscripts else ""
    return (f"<i>{text}</i>" if piece.symbol else text) + below


def family_name(detail: str) -> str:
    """``UniformPrior(0, 100)`` -> ``Uniform(0, 100)``."""
    return re.sub(r"(?<=\w)Prior\b", "", printable(detail))


def operator_sign(detail: str) -> str:
    """The sign inside a relation's diamond: ``*`` or ``MultiplePrior`` -> ×; a function keeps its name."""
    name = family_name(detail)
    return OPERATORS.get(name.lower(), OPERATORS.get(name, name))
