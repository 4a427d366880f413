"""What a run works with: where its pieces are kept, on which devices or by whom they are made, how many datasets at
a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax

from factorgraph.checkpoint.journal import NOTHING_KEPT, Journal
from factorgraph.distributed.workers import Workers
from factorgraph.errors import GraphError
from factorgraph.propagation.blocks import LANES


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """None of it changes an answer, but for rounding.

    Attributes
    ----------
    journal
        Keeps the pieces of the run that cost time; by default none.
    devices
        JAX devices of one kind, among which the datasets of a block are divided; None: all local ones.
    block_size
        Datasets of a plate that are worked on together on one device, a multiple of 8; None: as many as fit well.
    workers
        Who calls likelihoods that JAX cannot trace.
    lost
        Datasets that the workers lost in an earlier attempt, by name, and how: they are not asked again.

    Raises
    ------
    GraphError
        No device, or devices of several kinds; a block size that is no positive multiple of 8.
    """

    journal: Journal = NOTHING_KEPT
    devices: tuple[Any, ...] | None = None
    block_size: int | None = None
    workers: Workers = field(default_factory=Workers)
    lost: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.devices is not None:
            kinds = sorted({getattr(device, "platform", type(device).__name__) for device in self.devices})
            if len(kinds) != 1 or not all(isinstance(device, jax.Device) for device in self.devices):
                raise GraphError(
                    f"optimise: devices={list(self.devices)!r}; give JAX devices of one kind, some of jax.devices()."
                )
        size = self.block_size
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1 or size % LANES):
            raise GraphError(
                f"optimise: block_size={size!r}; it is a number of datasets, a positive multiple of {LANES}."
            )

    def of(self, part: int) -> Resources:
        """Those of a part of the run."""
        return replace(self, journal=self.journal.of(part))

    @property
    def found_devices(self) -> tuple[Any, ...]:
        """``devices``, or all that there are; the only one that a user's ``jax.default_device`` names."""
        if self.devices is not None:
            return self.devices
        default = jax.config.jax_default_device  # type: ignore[attr-defined]
        return (default,) if isinstance(default, jax.Device) else tuple(jax.local_devices())


DEFAULT_RESOURCES = Resources()
