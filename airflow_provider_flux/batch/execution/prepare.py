"""From a row to what can be submitted: its request, its inputs, and whether there is an image already."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_flux.batch.input.requests import restore_request
from airflow_provider_flux.batch.row_policy import Outcome
from airflow_provider_flux.batch.row_store import Job
from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.bfl.errors import FluxError, FluxExistsError, FluxRequestError
from airflow_provider_flux.bfl.request import GenerationRequest, estimate_cost
from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.provenance import RequestSummary
from airflow_provider_flux.landing.reuse import find_reusable
from airflow_provider_flux.object_store.filesystem import run_async

log = logging.getLogger(__name__)

#: Limit of most models; one with a smaller limit keeps it, whatever the account may do (source: BFL concurrency).
_USUAL_LIMIT = 24


def kind_of(entry: Model | None, model: str) -> str:
    """Return what shares one limit of active tasks: the model, or all videos."""
    return "video" if entry is not None and entry.output == "video" else model


def narrow_limits(given: Mapping[str, int]) -> dict[str, int]:
    """Return the limits of active tasks by kind: those of the catalog that are below the usual, and those given.

    :param given: by model.
    """
    models = known_models()
    narrow = {
        name: entry.max_active for name, entry in models.items() if entry.max_active < _USUAL_LIMIT
    }
    by_kind = [
        {kind_of(models.get(name), name): limit for name, limit in one.items()}
        for one in (narrow, given)
    ]
    return by_kind[0] | by_kind[1]


@dataclass(frozen=True)
class Found:
    """An end of a row before anything was submitted."""

    outcome: Outcome
    reason: str = ""


@dataclass
class Preparer:
    """Makes rows ready.

    :param plan: where images land; what differs by row is filled in.
    """

    hook: FluxHook
    plan: LandingPlan
    validate: bool
    _models: dict[str, Model] = field(default_factory=lambda: dict(known_models()))

    def build(self, model: str, parameters: Mapping[str, Any]) -> GenerationRequest:
        """Return the request of a row, whose parameters have been checked before."""
        request = restore_request(model, parameters, validate=self.validate, models=self._models)
        return self.hook.with_webhook_secret(request)

    def make(self, job: Job) -> bool:
        """Give a row its request and its landing plan; return whether :meth:`look` is needed too."""
        if job.is_fallback and job.fallback:
            job.model, job.parameters = job.fallback
        job.request = self.build(job.model, job.parameters)
        job.kind = kind_of(job.request.catalog_model, job.model)
        job.wanted = job.request.fingerprint
        job.estimate = estimate_cost(job.request).credits
        self._aim(job)
        return self._looks_for_images or any(
            job.parameters.get(name) for name in job.request.media_fields
        )

    async def look(self, job: Job) -> Found | None:
        """Read the inputs of a row, and look for an image that makes it needless; return how it ends, if it does."""
        assert job.request is not None  # noqa: S101 - made before
        try:
            job.request = await asyncio.to_thread(
                job.inputs.enter_context, self.hook.prepared(job.request)
            )
            job.estimate = estimate_cost(job.request).credits
            plan = self._aim(job)
            found = (
                await run_async(find_reusable(plan, job.estimate))
                if self._looks_for_images
                else None
            )
        except FluxError as error:
            job.release()
            is_final = isinstance(error, (FluxRequestError, FluxExistsError))
            return Found("invalid" if is_final else "failed", error.message)
        except Exception as error:  # a full disk, say
            log.exception("Row %d (%s)", job.n, job.key)
            job.release()
            return Found("failed", type(error).__name__)
        if found is None:
            return None
        job.release()
        job.generation = found
        return Found("reused")

    @property
    def _looks_for_images(self) -> bool:
        return (
            self.plan.target.reuse != "never" or self.plan.target.options.if_exists != "overwrite"
        )

    def _aim(self, job: Job) -> LandingPlan:
        assert job.request is not None  # noqa: S101 - made before
        plan = self.plan.with_target(index=job.n, key=job.key)
        if job.generation and job.facts:
            job.plan = plan.with_request(RequestSummary.model_validate_json(job.facts))
        else:
            job.plan = plan.for_request(job.request)
        return job.plan
