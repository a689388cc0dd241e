"""Random draws that a seed makes repeatable."""

from __future__ import annotations

import random


class RandomSource:
    """Random draws, with a generator for each purpose.

    The draws of one purpose do not change those of another. How often a client polls does not
    change how long tasks take.

    :param seed: equal seeds give equal draws; ``None`` gives different ones each time.
    """

    def __init__(self, seed: int | None) -> None:
        self._seed = seed
        self._generators: dict[str, random.Random] = {}

    def generator_for(self, purpose: str) -> random.Random:
        """Return the generator of a purpose.

        :param purpose: any name; the same name gives the same generator.
        """
        generator = self._generators.get(purpose)
        if generator is None:
            seed = None if self._seed is None else f"{self._seed} {purpose}"
            generator = self._generators[purpose] = random.Random(seed)  # noqa: S311  no secrets
        return generator

    def draw_event(self, purpose: str, probability: float) -> bool:
        """Draw whether an event happens.

        :param purpose: name of the generator.
        :param probability: 0 to 1.
        """
        return self.generator_for(purpose).random() < probability

    def draw_latency(self, seconds: float, spread: float) -> float:
        """Draw a duration, uniformly distributed.

        :param seconds: mean of the durations.
        :param spread: share of the mean by which a duration can differ from it, 0 to 1.
        """
        if not spread:
            return seconds
        return seconds * (1 + spread * self.generator_for("latency").uniform(-1, 1))
