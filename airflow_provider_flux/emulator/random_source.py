"""What an emulator leaves to chance, so that the same seed gives the same again."""

from __future__ import annotations

import random


class RandomSource:
    """Random draws with a generator for each purpose: how often a client polls does not change how long tasks take.

    :param seed: gives the same draws again; ``None`` gives others each time.
    """

    def __init__(self, seed: int | None) -> None:
        self._seed = seed
        self._generators: dict[str, random.Random] = {}

    def of(self, purpose: str) -> random.Random:
        """Return the generator of a purpose."""
        generator = self._generators.get(purpose)
        if generator is None:
            seed = None if self._seed is None else f"{self._seed} {purpose}"
            generator = self._generators[purpose] = random.Random(seed)  # noqa: S311  nothing here is a secret
        return generator

    def strikes(self, purpose: str, share: float) -> bool:
        """Draw whether something happens that has this share, 0 to 1."""
        return self.of(purpose).random() < share

    def spread(self, seconds: float, share: float) -> float:
        """Draw a duration between ``1 - share`` and ``1 + share`` of ``seconds``, each as likely."""
        return seconds * (1 + share * self.of("latency").uniform(-1, 1)) if share else seconds
