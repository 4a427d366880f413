"""Names as mathematics and as text."""

import pytest

from factorgraph.drawing.typesetting import family_name, html_label, mathtext, operator_sign, wrapped


@pytest.mark.parametrize(
    ("label", "index", "expected"),
    [
        ("mu", "", r"$\mu$"),
        ("sigma", "i", r"$\sigma_{i}$"),
        ("sigma_c", "i", r"$\sigma_{c,i}$"),
        ("sigma_cal", "", r"$\sigma_{\mathrm{cal}}$"),
        ("sigma_mu", "", r"$\sigma_{\mu}$"),
        ("H0", "", "$H_{0}$"),
        ("x", "cg", "$x_{cg}$"),
        ("centre", "i", "centre$_{i}$"),
        ("centre_0", "i", "centre$_{0,i}$"),
        ("log_mass", "", "log_mass"),
        ("a_name_of_many_words", "", "a_name_of_many_words"),
        ("gaussian.sigma", "i", r"gaussian.$\sigma_{i}$"),
        ("cost$", "", r"cost\$"),
    ],
)
def test_mathtext(label, index, expected):
    assert mathtext(label, index=index) == expected


@pytest.mark.parametrize(
    ("latex", "expected"),
    [(r"\theta", r"$\theta_{i}$"), (r"$\theta_\star$", r"$\theta_{\star,i}$"), ("m_{ab}", "$m_{ab,i}$")],
)
def test_users_latex_gets_the_plate_index(latex, expected):
    assert mathtext("theta", latex=latex, index="i") == expected


def test_html_escapes_what_dot_would_interpret():
    assert html_label('<b>&"', "i") == "&lt;b&gt;&amp;&quot;<sub><i>i</i></sub>"
    assert html_label("sigma_mu", "i") == "<i>σ</i><sub>μ,<i>i</i></sub>"


def test_wrapping_breaks_after_separators_and_ends():
    assert wrapped("short", 18) == ["short"]
    assert wrapped("Hubble diagram", 22) == ["Hubble diagram"]
    assert wrapped("galaxy.bulge.effective_radius", 18) == ["galaxy.bulge.", "effective_radius"]
    lines = wrapped("x" * 500, 18)
    assert [len(line) for line in lines] == [18, 18, 18]
    assert lines[-1].endswith("…")


def test_families_and_operators():
    assert family_name("UniformPrior(0, 100)") == "Uniform(0, 100)"
    assert family_name("GaussianPrior") == "Gaussian"
    assert (operator_sign("*"), operator_sign("MultiplePrior"), operator_sign("+"), operator_sign("Log10")) == (
        "×",
        "×",
        "+",
        "Log10",
    )
