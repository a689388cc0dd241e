"""FluxReviewOperator: a person chooses among generated images, rejects them, or asks for others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.batch.report.thresholds import parse_max_cost
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.compat import has_human_input
from airflow_provider_flux.landing.output_path import placeholders_in
from airflow_provider_flux.ledger.clear_id import clear_id_of
from airflow_provider_flux.links.gallery import GalleryLink
from airflow_provider_flux.links.review import ReviewLink
from airflow_provider_flux.observability.task_files import TaskFiles
from airflow_provider_flux.operators import arguments
from airflow_provider_flux.operators.base import FluxLandingOperator
from airflow_provider_flux.operators.candidate_folders import find_folders
from airflow_provider_flux.operators.failures import fail_without_retry
from airflow_provider_flux.operators.human_input import raise_timeout
from airflow_provider_flux.operators.reviewing import FluxReviewingOperator

if TYPE_CHECKING:
    import jinja2
    from airflow.providers.common.compat.sdk import BaseNotifier, Context
    from airflow.sdk.execution_time.hitl import HITLUser

    from airflow_provider_flux.operators.ask_again import CandidateBatch
    from airflow_provider_flux.operators.reviewing import OnReject, Unchosen
    from airflow_provider_flux.review.form import Defaults


class FluxReviewOperator(FluxReviewingOperator):
    """Let a person choose among landed images, and copy what they choose to the final path.

    The task shows its candidates on a review page of Airflow, and names them in the standard form
    of *Required Actions*. It parks until somebody answers, and uses no worker slot meanwhile. It
    needs Airflow 3.1 or newer.

    A reviewer approves one candidate, or several with ``multiple=True``; rejects all; or, with
    ``prompt``, asks for other candidates, whose prompt or seed they may change. Airflow accepts one
    answer, so the first of two reviewers decides. The answer is recorded before anything is done,
    so a killed try does not ask again, and other candidates are paid once.

    The XCom is the :class:`~airflow_provider_flux.generation.Generation` of the chosen image at
    ``output_path``, or a list of them with ``multiple=True``. The XCom ``flux_review`` has the
    candidates and the decision. The sidecars of all candidates and of the chosen image have the
    decision, and who made it.

    The arguments for where and how images land are those of
    :class:`~airflow_provider_flux.operators.base.FluxLandingOperator`. ``output_path`` is required.

    :param candidates: output of the task that generated them: a generation, a list of generations,
        or the summary of a batch. At most 500 images. (templated)
    :param subject: headline of the form. (templated)
    :param body: text above the candidates in the form, in Markdown. Default none. (templated)
    :param multiple: whether several candidates may be chosen. Default ``False``. ``output_path``
        then needs ``{key}`` or ``{index}`` of the candidate.
    :param defaults: answer that applies after ``response_timeout``: ``approve`` (all candidates, or
        the first without ``multiple``), ``reject``, or the number of a candidate, from 1, or a list
        of numbers. By default the task fails then.
    :param response_timeout: time to wait for an answer, as a ``timedelta``. It starts again with
        other candidates. Default: no limit.
    :param assigned_users: users who may answer, as dicts with ``id`` and ``name``. Default: all
        users whom Airflow permits it.
    :param notifiers: notifiers that are called each time the task begins to wait.
    :param on_reject: what follows a rejection: ``skip`` the task, and so those after it (default),
        ``fail`` it, or ``continue`` with ``None``, or an empty list.
    :param unchosen: ``keep`` the files of candidates that are not chosen (default), or ``remove``
        them, if their sidecar says that this DAG run generated them.
    :param candidate_folders: folder, or list of folders, that candidates may be in. Default: those
        that ``output_path`` of the Flux tasks of this DAG begin with. (templated)
    :param prompt: prompt of other candidates. By default reviewers cannot ask for any. (templated)
    :param model: model of other candidates. Default ``flux-pro-1.1``. (templated)
    :param parameters: dict of further parameters of other candidates. (templated)
    :param candidates_path: path of other candidates, with ``{key}``. Required with ``prompt``.
        (templated)
    :param per_round: number of other candidates each time. Default 4.
    :param max_rounds: how many times other candidates may be asked for. Default 3.
    :param max_cost: credits (1 credit = 0.01 USD) that other candidates may cost, in all rounds and
        tries. Required with ``prompt``. (templated)
    :param ledger_path: folder for the record of the review and the journal of other candidates, as
        an absolute path or a URI. Default: ``_flux/ledger/`` below the folder that ``output_path``
        begins with. (templated)
    :raises FluxRequestError: when the DAG is parsed, if a literal argument is wrong.
    """

    __supports_durable_execution: ClassVar[bool] = True
    template_fields: Sequence[str] = (
        *("candidates", "subject", "body", "candidate_folders"),
        *("prompt", "model", "parameters", "candidates_path", "max_cost", "ledger_path"),
        *FluxLandingOperator.template_fields,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **FluxLandingOperator.template_fields_renderers,
        "candidates": "json",
        "parameters": "json",
    }
    text_fields: ClassVar[frozenset[str]] = FluxLandingOperator.text_fields | {
        *("subject", "body", "prompt", "model", "candidates_path", "ledger_path")
    }
    operator_extra_links = (ReviewLink(), GalleryLink())

    def __init__(
        self,
        *,
        candidates: Any,
        output_path: Any,
        subject: str = "Choose an image: {{ task.task_id }}",
        body: str | None = None,
        multiple: bool = False,
        defaults: Defaults = None,
        response_timeout: timedelta | None = None,
        assigned_users: HITLUser | Sequence[HITLUser] | None = None,
        notifiers: BaseNotifier | Sequence[BaseNotifier] | None = None,
        on_reject: OnReject = "skip",
        unchosen: Unchosen = "keep",
        candidate_folders: str | Sequence[str] | None = None,
        prompt: str | None = None,
        model: str = "flux-pro-1.1",
        parameters: Mapping[str, Any] | None = None,
        candidates_path: str | None = None,
        per_round: int = 4,
        max_rounds: int = 3,
        max_cost: float | str | None = None,
        ledger_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(output_path="" if output_path is None else output_path, **kwargs)
        self.candidates = candidates
        self.subject = subject
        self.body = body
        self.multiple = multiple
        self.defaults = defaults
        self.response_timeout = response_timeout
        self.assigned_users = assigned_users
        self.notifiers = notifiers
        self.on_reject = on_reject
        self.unchosen = unchosen
        self.candidate_folders = candidate_folders
        self.prompt = prompt
        self.model = model
        self.parameters = parameters
        self.candidates_path = self._unrendered_candidates_path = candidates_path
        self.per_round = per_round
        self.max_rounds = max_rounds
        self.max_cost = max_cost
        self.ledger_path = ledger_path
        self._batch: CandidateBatch | None = None
        self._is_killed = False
        self._check_review_arguments()

    def _check_review_arguments(self) -> None:
        """Check literal arguments at parse time."""
        choices = {"on_reject": ("skip", "fail", "continue"), "unchosen": ("keep", "remove")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise FluxRequestError(
                    f"{name}={getattr(self, name)!r} must be one of "
                    f"{', '.join(map(repr, allowed))}."
                )
        path = self._unrendered_output_path
        if self.multiple and isinstance(path, str) and not arguments.is_template(path):
            self._check_choices_differ(path)
        arguments.check_count("per_round", self.per_round)
        arguments.check_count("max_rounds", self.max_rounds)
        arguments.check_ledger_path(self.ledger_path)
        if not arguments.is_resolved_later(self.max_cost):
            parse_max_cost(self.max_cost)
        if self.prompt is not None and (self.candidates_path is None or self.max_cost is None):
            raise FluxRequestError(
                "prompt lets reviewers ask for other candidates, which BFL bills. Set "
                "candidates_path, where they land, and max_cost, the credits they may cost."
            )

    def _check_names_of_mapped_tasks(self, context: Context, path: str, map_index: int) -> None:
        """Refuse a path that gives the images of all map indexes one name; warn if it may."""
        if not self.multiple:
            super()._check_names_of_mapped_tasks(context, path, map_index)
        elif not (placeholders_in(path) & {"request_id", "sha256"} or str(map_index) in path):
            self.log.warning(
                "output_path=%r may be the same for candidates of other mapped tasks, unless their "
                "keys differ. Add {{ ti.map_index }}.",
                path,
            )

    def execute(self, context: Context) -> Any:
        """Ask for a decision, or carry out one that an earlier try was given.

        :param context: context of the task.
        :return: the chosen generation, or a list of them, if an earlier try was given the decision.
        :raises FluxRequestError: as ``AirflowFailException``, if there is no candidate, or one that
            is not below the folders of the DAG.
        :raises AirflowFailException: for errors that a retry cannot help.
        """
        from airflow_provider_flux.review.candidates import (
            check_candidates,
            find_removed,
            read_candidates,
        )
        from airflow_provider_flux.review.record import ReviewRecord, hash_sources, is_unfinished

        self.task_files = TaskFiles()
        if not has_human_input():
            raise AirflowFailException(
                "FluxReviewOperator needs Airflow 3.1 or newer, whose tasks can ask a person."
            )
        with fail_without_retry(self):
            case = self._open(context)
            folders = self._folders()
            candidates = read_candidates(self.candidates, folders)
            clear_id, source = clear_id_of(context), hash_sources(candidates)
            record = case.file.load()
            if record is None or record.source != source:
                case.record = ReviewRecord(clear_id=clear_id, source=source, candidates=candidates)
                return self._ask(context, case)
            check_candidates(record.candidates, folders)
            case.record = record
            if is_unfinished(record, clear_id):
                return self._carry_out(context, case)
            record.clear_id, record.note = clear_id, None
            record.candidates = find_removed(record.candidates)
            return self._ask(context, case)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Carry out an answer.

        :param context: context of the task.
        :param event: event of Airflow with the answer.
        :return: the chosen generation, or a list of them.
        :raises HITLTimeoutError: if nobody answered in time, and there are no ``defaults``.
        :raises AirflowSkipException: for a rejection with ``on_reject="skip"``.
        :raises AirflowFailException: for a rejection with ``on_reject="fail"``, and for errors that
            a retry cannot help.
        """
        from airflow_provider_flux.review.answer import AnswerError, read_answer
        from airflow_provider_flux.review.candidates import check_candidates

        self.task_files = TaskFiles()
        if "error" in event:
            raise_timeout(event)
        with fail_without_retry(self):
            case = self._open(context)
            record = case.file.load()
            if record is None:  # somebody removed the ledger: ask again
                return self.execute(context)
            check_candidates(record.candidates, self._folders())
            case.record = record
            try:
                record.decision = read_answer(
                    event,
                    choosable=record.choosable,
                    multiple=self.multiple,
                    may_ask_again=self._may_ask_again,
                    current_round=record.round,
                )
            except AnswerError as error:
                record.note = str(error)
                self.log.warning("The answer cannot be carried out. %s Asking again.", error)
                return self._ask(context, case)
            record.phase, record.note = "decided", None
            case.file.save(record)
            return self._carry_out(context, case)

    def on_kill(self) -> None:
        """Submit no more candidates. The record has the answer, so a retry resumes it."""
        self._is_killed = True
        if self._batch:
            self._batch.stop()

    def render_template_fields(
        self, context: Context, jinja_env: jinja2.Environment | None = None
    ) -> None:
        """Render the template fields, and the folders that candidates may be in.

        Airflow keeps the folders with the rendered fields, where the review page finds them: an
        XCom could be changed.

        :param context: context of the task.
        :param jinja_env: environment of the DAG. By default it is created.
        """
        super().render_template_fields(context, jinja_env)
        if self.candidate_folders is None:
            self.candidate_folders = find_folders(
                context.get("dag"), lambda template: self.render_template(template, context)
            )
