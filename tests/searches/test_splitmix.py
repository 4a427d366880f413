"""The kernels' random numbers: distributed as they should be, streams independent."""

import jax
import numpy as np
import pytest
from scipy.stats import kstest, norm, uniform

from searches import splitmix


@pytest.fixture(scope="module")
def streams():
    def draw(seed):
        root = splitmix.stream(seed)
        children = [splitmix.substream(root, i) for i in range(4)]
        return (
            [splitmix.uniform(child, (20_000,)) for child in children],
            [splitmix.normal(child, (10_000, 2)) for child in children],
        )

    with jax.enable_x64(True):
        return jax.device_get(jax.jit(jax.vmap(draw))(np.arange(3)))


def test_distributions(streams):
    uniforms, normals = streams
    for stream in np.stack(uniforms).reshape(-1, 20_000):
        assert np.all((stream > 0) & (stream < 1))
        assert kstest(stream, uniform.cdf).pvalue > 1e-4
    for stream in np.stack(normals).reshape(-1, 10_000, 2):
        assert kstest(stream.ravel(), norm.cdf).pvalue > 1e-4


def test_streams_and_neighbours_are_uncorrelated(streams):
    uniforms, normals = streams
    rows = np.concatenate([np.stack(uniforms).reshape(-1, 20_000), np.stack(normals).reshape(-1, 20_000)])
    between = np.corrcoef(rows[:12])[np.triu_indices(12, 1)]
    lagged = [np.corrcoef(row[:-lag], row[lag:])[0, 1] for row in rows for lag in (1, 2, 64)]
    assert np.all(np.abs(between) < 4.5 / np.sqrt(20_000))
    assert np.all(np.abs(lagged) < 4.5 / np.sqrt(20_000))


def test_the_seed_decides():
    with jax.enable_x64(True):
        first, again, other = (splitmix.stream(seed) for seed in (1, 1, 2))
        assert first == again
        assert first != other
