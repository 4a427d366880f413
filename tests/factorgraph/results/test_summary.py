import numpy as np
import pytest

from factorgraph.results.summary import significant


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.00115, 0.82, "0.00115"),  # not 0.00
        (50.0213, 1.234, "50.02"),
        (-0.5, 0.25, "-0.500"),
        (0.0, 0.25, "0.000"),
        (0.0, 0.0, "0"),
        (1234567.0, 1000.0, "1234567"),
        (1.2345e9, 1e6, "1.23450e+09"),
        (1.5e-12, 2e-13, "1.500e-12"),
        (3.14159265, np.nan, "3.14159"),
        (np.nan, 1.0, "nan"),
        (-np.inf, 1.0, "-inf"),
    ],
)
def test_significant_digits(value, error, text):
    assert significant(value, error) == text


def test_info_prints_ep_beside_corrected(solved):
    info = solved.result.info
    assert "expectation propagation: converged" in info
    assert "EP corrected by importance sampling, k-hat" in info
    assert (
        f"log evidence (nats): {solved.result.log_evidence:.3f} +- {solved.result.log_evidence_error:.4f}"[:-1] in info
    )
    assert f" corrected, {solved.result.ep.log_evidence:.3f} by EP" in info
    assert "standard error of the private means, in their sds: median 0" in info
    header, *rows = [line for line in info.splitlines() if "EP mean" in line or line.startswith("parent.")]
    assert [column.split() for column in (header,)] == [
        ["mean", "sd", "68", "%", "interval", "EP", "mean", "EP", "sd", "inner", "error"]
    ]
    assert [row.split()[0] for row in rows] == ["parent.mean", "parent.sigma"]
    assert len({len(line) for line in (header, *rows)}) == 1
    mean, sd = rows[0].split()[1:3]
    assert float(mean) == pytest.approx(solved.result.mean_field.mean[solved.schools.parent.mean], abs=0.005)
    assert float(sd) == pytest.approx(solved.result.mean_field.scale[solved.schools.parent.mean], abs=0.005)
    assert "8 datasets of Coaching\n    private variables: theta; method: analytic" in info
    assert f"given all others: {solved.result.outliers(1)[0][0]} " in info
    assert "QUARANTINED" not in info
