"""The rejected images of one row: how many there were, where they are, and why the last one is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from airflow_provider_flux.bfl.request import GenerationRequest
from airflow_provider_flux.bfl.stable_seed import reroll_seed
from airflow_provider_flux.generation import Generation


@dataclass(frozen=True)
class RejectedImages:
    """The images of a row that checks rejected, over all tries.

    :param count: those that count as attempts. It is also the number of the next one, from 1.
    :param uris: where they are kept.
    :param reason: why the last one was rejected.
    :param generation: the generation of the last one; ``None`` if there is none.
    """

    count: int = 0
    uris: tuple[str, ...] = ()
    reason: str = ""
    generation: Generation | None = None

    def add(
        self, generation: Mapping[str, Any], reason: str, *, is_attempt: bool = True
    ) -> RejectedImages:
        """Return the images with one more.

        :param generation: the generation of the rejected image.
        :param reason: why it was rejected.
        :param is_attempt: whether it counts as an attempt, ``True`` by default. An image whose
            check failed does not: nobody knows whether it is good.
        """
        landed = generation.get("image") or generation.get("video") or {}
        uri = landed.get("uri")
        uris = (*self.uris, uri) if isinstance(uri, str) and uri not in self.uris else self.uris
        count = self.count + is_attempt
        return RejectedImages(count, uris, reason, cast(Generation, dict(generation)))

    def encode(self) -> str | None:
        """Return the images as JSON for the row store; ``None`` if there are none."""
        if self == NOTHING_REJECTED:
            return None
        return json.dumps([self.count, self.uris, self.reason, self.generation])

    @classmethod
    def decode(cls, text: str | None) -> RejectedImages:
        """Return the images of :meth:`encode`.

        :param text: the JSON; ``None`` for no images.
        """
        if text is None:
            return NOTHING_REJECTED
        count, uris, reason, generation = json.loads(text)
        return cls(count, tuple(uris), reason, generation)


NOTHING_REJECTED = RejectedImages()


def reroll(request: GenerationRequest, number: int, fingerprint: str) -> GenerationRequest:
    """Return the request of another attempt: with another seed, if the model takes one.

    :param request: the request of the row.
    :param number: number of rejected images; 0 for the first attempt, which is the request itself.
    :param fingerprint: fingerprint of the row in the input.
    """
    if not number or not _takes_seed(request):
        return request
    seed = request.parameters.get("seed")
    return request.with_seed(reroll_seed(seed if type(seed) is int else None, number, fingerprint))


def _takes_seed(request: GenerationRequest) -> bool:
    """Whether a request has a seed. Of a model that is not known, only its parameters are."""
    if request.catalog_model is None:
        return "seed" in request.parameters
    return "seed" in request.catalog_model.schema_for(request.parameters).model_fields
