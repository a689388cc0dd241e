"""The states of a valid row, one type each: pending, submitted, ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_flux.account.limit_groups import group_of
from airflow_provider_flux.batch.rejected import NOTHING_REJECTED, RejectedImages, reroll
from airflow_provider_flux.batch.row_policy import RowOutcome
from airflow_provider_flux.bfl.request import GenerationRequest, estimate_cost
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.provenance import RequestSummary


@dataclass(frozen=True, eq=False, kw_only=True)
class _OpenRow:
    """A row that has not ended.

    :param index: position in the input, from 0.
    :param key: name of the row, unique in the batch.
    :param group: limit group of its request, see
        :func:`~airflow_provider_flux.account.limit_groups.group_of`.
    :param plan: where its image lands, with the summary of its request for the sidecar.
    :param estimate: expected cost in credits; ``None`` if it is not known.
    :param fallback: request to submit if BFL ends this one without an image; ``None`` if the row
        has none, or if this one is the fallback.
    :param is_fallback: whether this is about the fallback of the row.
    :param uncertain_submits: submits of all tries whose answer is not known.
    :param lost_answers: those of this try.
    :param rejected: its images that checks rejected.
    :param path: ``output_path`` with the columns of the row filled in; ``None`` if it is that of
        the batch.
    """

    index: int
    key: str
    group: str
    plan: LandingPlan
    estimate: float | None
    fallback: GenerationRequest | None = None
    is_fallback: bool = False
    uncertain_submits: int = 0
    lost_answers: int = 0
    rejected: RejectedImages = NOTHING_REJECTED
    path: str | None = None

    @property
    def label(self) -> str:
        """The key and the index of the row, for messages."""
        return f"{self.key!r} (index {self.index})"


@dataclass(frozen=True, eq=False, kw_only=True)
class PendingRow(_OpenRow):
    """A row that is to be submitted. The other fields are those of every open row.

    :param request: request to submit. Before its preparation its inputs are the text that names
        them.
    :param fingerprint: fingerprint of that request before its preparation, without the bytes of its
        inputs.
    :param inputs: holds the files of its inputs until :meth:`release`.
    """

    request: GenerationRequest
    fingerprint: str
    inputs: ExitStack = field(default_factory=ExitStack, repr=False)

    @property
    def model(self) -> str:
        """The model to submit to."""
        return self.request.model

    def with_prepared(self, request: GenerationRequest) -> PendingRow:
        """Return the row with its prepared request, and with the cost and summary of that.

        :param request: the request of the row with its inputs read.
        """
        estimate = estimate_cost(request).credits
        return replace(
            self, request=request, estimate=estimate, plan=self.plan.for_request(request)
        )

    @property
    def request_to_submit(self) -> GenerationRequest:
        """The request with the seed of this attempt: another one after a rejected image."""
        return reroll(self.request, self.rejected.count, self.fingerprint)

    @property
    def plan_to_land(self) -> LandingPlan:
        """The plan with the seed of this attempt. Its fingerprint stays that of the row."""
        request = self.request_to_submit
        if request is self.request:
            return self.plan
        summary = self.plan.request
        parameters = {**summary.parameters, "seed": request.parameters["seed"]}
        return self.plan.with_request(summary.model_copy(update={"parameters": parameters}))

    def with_lost_answer(self) -> PendingRow:
        """Return the row after one more submit whose answer is not known."""
        return replace(
            self,
            uncertain_submits=self.uncertain_submits + 1,
            lost_answers=self.lost_answers + 1,
        )

    def accept(self, claim: str, generation: Generation) -> SubmittedRow:
        """Return the row as it is after BFL accepted its request.

        :param claim: id of the submit in the journal.
        :param generation: the generation that BFL accepted.
        """
        return SubmittedRow(
            index=self.index,
            key=self.key,
            group=self.group,
            plan=self.plan_to_land,
            estimate=self.estimate,
            fallback=self.fallback,
            is_fallback=self.is_fallback,
            uncertain_submits=self.uncertain_submits,
            lost_answers=self.lost_answers,
            rejected=self.rejected,
            path=self.path,
            claim=claim,
            generation=generation,
        )

    def release(self) -> None:
        """Remove the files of the inputs."""
        self.inputs.close()


@dataclass(frozen=True, eq=False, kw_only=True)
class SubmittedRow(_OpenRow):
    """A row that BFL accepted and whose image has not landed.

    :param claim: id of the submit in the journal.
    :param generation: the generation that BFL accepted.
    :param is_resumed: whether an earlier try submitted it.
    """

    claim: str
    generation: Generation
    is_resumed: bool = False

    @property
    def model(self) -> str:
        """The model of the generation."""
        return self.generation["model"]


@dataclass(frozen=True)
class EndedRow:
    """A row as the manifest shows it. While the batch works, some rows have not ended yet.

    :param index: position in the input, from 0.
    :param key: name of the row.
    :param outcome: its outcome, ``pending`` or ``submitted`` if it has not ended.
    :param reason: explanation of the outcome; empty if it needs none.
    :param model: model that the row names.
    :param estimate: expected cost in credits; ``None`` if it is not known.
    :param generation: its last generation; ``None`` if BFL accepted none.
    :param is_fallback: whether this is about the fallback of the row.
    :param uncertain_submits: submits of all tries whose answer is not known.
    :param latency: seconds from its submit until it was seen to be ready; ``None`` if this try did
        not both submit it and land it.
    :param prompt: its prompt, or that of its fallback; ``None`` if it has none, or was not read.
    :param data: values of the row by the columns of the input; empty if they were not read.
    :param rejected: its images that checks rejected.
    :param previous_uri: URI of the image that the previous manifest names; ``None`` without one.
    """

    index: int
    key: str
    outcome: RowOutcome
    reason: str
    model: str
    estimate: float | None
    generation: Mapping[str, Any] | None
    is_fallback: bool
    uncertain_submits: int
    latency: float | None
    prompt: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    rejected: RejectedImages = NOTHING_REJECTED
    previous_uri: str | None = None

    @property
    def is_charged(self) -> bool:
        """Whether BFL charges for its generation, if it has one."""
        return self.outcome not in {"moderated", "failed"}


@dataclass(frozen=True)
class RowBuilder:
    """Builder of the open rows of one batch.

    :param plan: landing plan of the batch. Each row gets its own index, key and request.
    :param restore: rebuilds the checked request of a row from its model and parameters.
    """

    plan: LandingPlan
    restore: Callable[[str, Mapping[str, Any]], GenerationRequest]

    def build_pending(
        self,
        index: int,
        key: str,
        request: GenerationRequest,
        *,
        fallback: GenerationRequest | None = None,
        is_fallback: bool = False,
        uncertain_submits: int = 0,
        lost_answers: int = 0,
        rejected: RejectedImages = NOTHING_REJECTED,
        path: str | None = None,
    ) -> PendingRow:
        """Build a row that is to be submitted.

        :param index: position in the input, from 0.
        :param key: name of the row.
        :param request: its request, or that of its fallback.
        :param fallback: request to submit if BFL ends this one without an image.
        :param is_fallback: whether ``request`` is the fallback of the row.
        :param uncertain_submits: submits of all tries whose answer is not known.
        :param lost_answers: those of this try.
        :param rejected: images of the row that checks rejected.
        :param path: ``output_path`` with the columns of the row filled in; ``None`` if it is that
            of the batch.
        """
        return PendingRow(
            index=index,
            key=key,
            group=group_of(request.model, request.catalog_model),
            plan=self._plan_of(index, key, path).for_request(request),
            estimate=estimate_cost(request).credits,
            fallback=fallback,
            is_fallback=is_fallback,
            uncertain_submits=uncertain_submits,
            lost_answers=lost_answers,
            rejected=rejected,
            path=path,
            request=request,
            fingerprint=request.fingerprint,
        )

    def build_resumed(
        self,
        index: int,
        key: str,
        summary: RequestSummary,
        *,
        path: str | None = None,
        **fields: Any,
    ) -> SubmittedRow:
        """Build a row that an earlier try submitted.

        :param index: position in the input, from 0.
        :param key: name of the row.
        :param summary: summary of the request of that try, which may differ from the request that
            the row has now.
        :param path: ``output_path`` with the columns of the row filled in; ``None`` if it is that
            of the batch.
        :param fields: the other fields of :class:`SubmittedRow`.
        """
        plan = self._plan_of(index, key, path).with_request(summary)
        return SubmittedRow(index=index, key=key, plan=plan, path=path, is_resumed=True, **fields)

    def build_fallback(self, row: SubmittedRow, fallback: GenerationRequest) -> PendingRow:
        """Build the row that is submitted after BFL ended a generation without an image.

        :param row: the row whose generation BFL ended.
        :param fallback: the fallback of that row.
        """
        return self.build_pending(
            row.index,
            row.key,
            fallback,
            is_fallback=True,
            uncertain_submits=row.uncertain_submits,
            lost_answers=row.lost_answers,
            rejected=row.rejected,
            path=row.path,
        )

    def _plan_of(self, index: int, key: str, path: str | None) -> LandingPlan:
        own = {} if path is None else {"path": path}
        return self.plan.with_target(index=index, key=key, **own)
