"""The phases of a review: ask a person, and carry out what they answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException

from airflow_provider_flux.batch.report.thresholds import parse_max_cost
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.output_path import has_distinct_names
from airflow_provider_flux.ledger.ledger_folder import LEDGER_FOLDER
from airflow_provider_flux.links.gallery import ui_path
from airflow_provider_flux.operators import arguments
from airflow_provider_flux.operators.base import FluxLandingOperator
from airflow_provider_flux.operators.human_input import Question, ask_person

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseNotifier, Context
    from airflow.sdk.execution_time.hitl import HITLUser

    from airflow_provider_flux.operators.ask_again import CandidateBatch
    from airflow_provider_flux.review.answer import Decision
    from airflow_provider_flux.review.form import Defaults
    from airflow_provider_flux.review.outcome import ReviewCase
    from airflow_provider_flux.review.record import ReviewRecord, ReviewRecordFile

OnReject = Literal["skip", "fail", "continue"]
Unchosen = Literal["keep", "remove"]


class FluxReviewingOperator(FluxLandingOperator):
    """Base class that asks a person and carries out the answer. Do not use it by itself.

    The ``__init__`` of a subclass sets the attributes below.
    """

    subject: str
    body: str | None
    multiple: bool
    defaults: Defaults
    response_timeout: timedelta | None
    assigned_users: HITLUser | Sequence[HITLUser] | None
    notifiers: BaseNotifier | Sequence[BaseNotifier] | None
    on_reject: OnReject
    unchosen: Unchosen
    candidate_folders: str | Sequence[str] | None
    prompt: str | None
    model: str
    parameters: Mapping[str, Any] | None
    candidates_path: str | None
    per_round: int
    max_rounds: int
    max_cost: float | str | None
    ledger_path: str | None
    _batch: CandidateBatch | None
    _is_killed: bool

    def _open(self, context: Context) -> ReviewCase:
        from airflow_provider_flux.review.outcome import ReviewCase
        from airflow_provider_flux.review.record import ReviewRecordFile

        plan = self._landing_plan(context)
        assert plan is not None  # noqa: S101 - output_path is required
        if self.multiple:
            self._check_choices_differ(plan.target.path)
        folder = self.ledger_path
        if folder is None:
            if not self._fixed_folder():
                raise FluxRequestError(
                    f"ledger_path is required, because output_path={plan.target.path!r} begins "
                    "with no folder."
                )
            folder = f"{self._fixed_folder()}{LEDGER_FOLDER}".rstrip("/")
        else:
            folder = arguments.check_rendered_ledger_path(folder)
        return ReviewCase(plan, ReviewRecordFile(folder, plan.task), self.multiple)

    def _check_choices_differ(self, path: str) -> None:
        if not has_distinct_names(path):
            raise FluxRequestError(
                f"output_path={path!r} is the same for all chosen candidates. Add {{key}} or "
                "{index}."
            )

    @property
    def _may_ask_again(self) -> bool:
        return bool(self.prompt)

    def _folders(self) -> list[str]:
        """Return the folders that candidates may be in, each with a slash at its end."""
        folders = self.candidate_folders or []
        listed = [folders] if isinstance(folders, str) else list(folders)
        return [f"{str(folder).rstrip('/')}/" for folder in listed]

    def _ask(self, context: Context, case: ReviewCase) -> NoReturn:
        """Publish the candidates, and park the task until somebody answers."""
        record = case.record
        if not record.choosable and not self._may_ask_again:
            raise FluxRequestError(
                "An earlier decision removed the files of all candidates. Clear the task that "
                "generates them, too."
            )
        question = self._build_question(case)
        record.phase = "open"
        case.file.save(record)
        self._publish(context, record)
        self.log.info("Waiting for a reviewer of %d candidates", len(record.candidates))
        ask_person(
            self, context["ti"].id, question, "execute_complete", lambda: self._notify(context)
        )

    def _build_question(self, case: ReviewCase) -> Question:
        from airflow_provider_flux.review import form

        candidates = case.record.candidates
        more = self.per_round * self.max_rounds if self._may_ask_again else 0
        most = more + sum(candidate.round == 0 for candidate in candidates)
        users = self.assigned_users
        return Question(
            subject=self.subject,
            body=form.build_body(case.plan.task, candidates, ui_path(""), self.body or ""),
            options=form.build_options(
                most, multiple=self.multiple, may_ask_again=self._may_ask_again
            ),
            fields=form.build_fields(self._shown_prompt, may_ask_again=self._may_ask_again),
            defaults=form.build_defaults(
                self.defaults, case.record.choosable, multiple=self.multiple
            ),
            multiple=self.multiple,
            assigned_users=[users] if isinstance(users, dict) else list(users or ()),
            timeout=self.response_timeout,
        )

    def _notify(self, context: Context) -> None:
        notifiers = self.notifiers or ()
        for notifier in notifiers if isinstance(notifiers, Sequence) else (notifiers,):
            notifier(context)

    @property
    def _shown_prompt(self) -> str | None:
        return None if self.hide_prompt else self.prompt

    def _publish(self, context: Context, record: ReviewRecord) -> None:
        """Push the state of the review, for the review page and for other tasks."""
        from airflow_provider_flux.review.page_state import REVIEW_XCOM, describe_review

        state = describe_review(
            record,
            multiple=self.multiple,
            per_round=self.per_round,
            max_rounds=self.max_rounds if self._may_ask_again else 0,
            max_cost=parse_max_cost(self.max_cost),
            prompt=self._shown_prompt,
        )
        context["ti"].xcom_push(key=REVIEW_XCOM, value=state)

    def _carry_out(self, context: Context, case: ReviewCase) -> Any:
        """Carry out the recorded decision, which can be repeated."""
        from airflow_provider_flux.review.outcome import close, promote_chosen

        decision = case.decision
        who = decision.decided_by_name or "the default of the timeout"
        self.log.info("Decision of %s: %s %s", who, decision.kind, list(decision.chosen) or "")
        match decision.kind:
            case "ask_again":
                return self._generate_others(context, case)
            case "reject":
                close(case, self.unchosen)
                self._publish(context, case.record)
                return self._reject(decision, who)
            case "approve":
                for candidate in case.chosen:
                    self.task_files.inputs.add(candidate.uri)
                promoted = promote_chosen(FluxHook(self.flux_conn_id), case)
                close(case, self.unchosen)
                self._publish(context, case.record)
                self.task_files.add_landed(promoted)
                returned = promoted if self.multiple else promoted[0]
                self._emit_image_events(context, returned)
                return returned

    def _reject(self, decision: Decision, who: str) -> Any:
        reason = f"All candidates were rejected by {who}."
        if decision.comment:
            reason = f"{reason} {decision.comment}"
        if self.on_reject == "fail":
            raise AirflowFailException(reason)
        if self.on_reject == "skip":
            raise AirflowSkipException(reason)
        return [] if self.multiple else None

    def _generate_others(self, context: Context, case: ReviewCase) -> NoReturn:
        """Generate other candidates within the budget, and ask again with all of them."""
        from airflow_provider_flux.operators.ask_again import CandidateBatch, RefusedRoundError

        record, decision = case.record, case.decision
        if self.hide_prompt:  # the file has the prompt until the round has ended
            record.decision = decision.model_copy(update={"prompt": None})
        self._publish(context, record)
        if refusal := self._find_refusal(record):
            record.note = refusal
            self._ask(context, case)
        self._batch = CandidateBatch(
            self._batch_arguments(case.file), str(self.prompt), self.per_round
        )
        if self._is_killed:
            self._batch.stop()
        try:
            others = self._batch.run(context, record, decision)
        except RefusedRoundError as error:
            record.note = f"No other candidates were generated. {error}"
            self.log.warning("%s", record.note)
        else:
            record.round += 1
            record.feedback.append(case.decision)
            record.candidates = [*record.candidates, *others.candidates]
            record.credits = others.credits
            record.note = others.describe_missing(self.per_round)
        self._ask(context, case)

    def _find_refusal(self, record: ReviewRecord) -> str | None:
        """Return why no further candidates may be asked for; ``None`` if they may."""
        from airflow_provider_flux.review.candidates import MAX_CANDIDATES
        from airflow_provider_flux.review.page_state import has_room

        if record.round >= self.max_rounds:
            return f"Other candidates were asked for {record.round} times, the most allowed."
        if not has_room(record, self.per_round):
            return f"A review has at most {MAX_CANDIDATES} candidates. Choose among these."
        return None

    def _batch_arguments(self, file: ReviewRecordFile) -> dict[str, Any]:
        """Return the arguments of the batch that generates other candidates."""
        options = {
            name: getattr(self, name)
            for name in (
                *("hide_prompt", "sidecar", "embed_metadata", "on_mismatch", "cache_control"),
                *("store_options", "renditions", "flux_conn_id"),
            )
        }
        return {
            **options,
            "task_id": self.task_id,
            "model": self.model,
            "defaults": dict(self.parameters or {}),
            "output_path": self.candidates_path,
            "ledger_path": file.folder,
            "max_cost": self.max_cost,
            "max_failed": None,
        }
