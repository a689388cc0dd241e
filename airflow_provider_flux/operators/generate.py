"""FluxGenerateOperator: one request, one image or video."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.providers.common.compat.sdk import conf

from airflow_provider_flux.bfl.catalog import route_of
from airflow_provider_flux.bfl.errors import FluxInputError, error_from_dict
from airflow_provider_flux.bfl.priority import Priority, check_priority
from airflow_provider_flux.bfl.request import GenerationRequest
from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.landing.recorded_inputs import add_recorded_inputs
from airflow_provider_flux.ledger.ledger_folder import LEDGER_FOLDER, publish_ledger_folder
from airflow_provider_flux.ledger.resume_policy import OnChange, OnClear, OnUncertain, ResumePolicy
from airflow_provider_flux.observability.generation_events import record_deferred, record_reused
from airflow_provider_flux.operators import arguments
from airflow_provider_flux.operators.base import FluxLandingOperator
from airflow_provider_flux.operators.claiming import FluxClaimingOperator
from airflow_provider_flux.operators.failures import describe_recovery, fail_without_retry
from airflow_provider_flux.operators.request_arguments import NAMED_PARAMETERS, FluxRequestOperator
from airflow_provider_flux.operators.sibling_tasks import check_sibling_tasks
from airflow_provider_flux.operators.webhook_reference import (
    add_reference,
    check_ready_asset,
    push_ready_asset,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Asset, Context

    from airflow_provider_flux.landing.plan import LandingPlan
    from airflow_provider_flux.landing.target import Reuse
    from airflow_provider_flux.ledger.submission import TrackedSubmission


class FluxGenerateOperator(FluxRequestOperator, FluxClaimingOperator):
    """Generate one image or video with FLUX and, with ``output_path``, land it in object storage.

    The task submits the request once and waits for up to ``inline_wait`` seconds on the worker.
    Most images are ready by then. After that it defers: the triggerer polls, and the worker slot is
    free. A model that usually takes a minute or more, and longer than ``inline_wait``, defers at
    once.

    The operator checks literal arguments when the DAG is parsed, and all others before it submits.

    The task records its submit in a ledger: in files below the folder that ``output_path`` begins
    with, in ``ledger_path``, or, with neither, in the task state store of Airflow 3.3. A retry
    resumes the generation that an earlier try submitted. A task that ended well and is cleared
    generates a new image.

    The XCom is a :class:`~airflow_provider_flux.generation.Generation`: a small dict with
    ``request_id``, ``polling_url``, ``model``, ``status``, ``seed``, ``fingerprint``, ``cost``,
    ``cost_source``, ``estimated_cost``, ``submitted_at``, ``reused``, ``uncertain_submits``,
    ``image`` and ``video``. The last two hold ``uri``, ``sha256``, ``bytes``, ``width``,
    ``height``, ``content_type`` and ``sidecar`` of the landed file, or ``None``.

    The parameters of FLUX1.1 [pro] are named arguments, and the operator sends their defaults for
    that model. For other models it sends only the arguments that are set. All of them are
    templated. The arguments for where and how the image lands are those of
    :class:`~airflow_provider_flux.operators.base.FluxLandingOperator`.

    :param prompt: description of the image. Some models need none.
    :param model: name of the model. Default ``flux-pro-1.1``.
    :param width: pixels, 256 to 1440 in steps of 32. Default 1024.
    :param height: pixels, 256 to 1440 in steps of 32. Default 1024.
    :param prompt_upsampling: let BFL rewrite the prompt. Default ``False``.
    :param seed: number that makes an image reproducible, or ``"stable"`` for one that follows from
        the request, so that the same request gives the same image. Random by default. The XCom
        has the seed that BFL used.
    :param safety_tolerance: moderation, from 0 (most strict) to 6. Default 2.
    :param output_format: ``jpeg``, ``png`` or ``webp``. Default: the format that the suffix of
        ``output_path`` names, else ``jpeg``.
    :param webhook_url: URL that BFL calls when the image is ready. The task polls as well. If it
        ends with ``/flux/webhooks``, it is the receiver in Airflow's API server, which resumes the
        deferred task.
    :param webhook_secret: secret that BFL sends to the webhook in ``X-Webhook-Secret``. Default:
        the ``webhook_secret`` of the connection, which is the better place for it, because Airflow
        stores the source of DAG files, and the arguments of ``partial()``, in its database.
    :param parameters: dict of further parameters, by the names of BFL. An image, mask or video is a
        URI of an object store (``s3://my_conn@bucket/key``, ``gs://``, ``abfs://``, ``file://``),
        an http(s) URL, an absolute path, or base64. The worker reads it.
    :param reuse: use an existing image with the same model, parameters and inputs in place of a
        submit: ``never`` (default), ``run`` (an image of this DAG run) or ``always``. The operator
        looks below the folder that ``output_path`` begins with before any template. Of tasks that
        want one image at the same time, one submits it, and the others wait for it and reuse it.
    :param ledger_path: folder for the records of the ledger, as an absolute path or a URI of
        ``ObjectStoragePath``. Default: ``_flux/ledger/`` below the folder that ``output_path``
        begins with before any template. (templated)
    :param on_uncertain: action for a submit of an earlier try whose answer was lost, so that it may
        have been billed: ``fail`` (default) until a user clears the task, or ``resubmit`` in the
        next try, which BFL may bill twice.
    :param on_change: action if the request differs from the one an earlier try submitted: submit
        the ``new`` one and warn (default), ``resume`` the old one, or ``fail``.
    :param on_clear: action of a cleared task: ``resume`` (default) a generation that no try has
        returned, and submit if there is none; always submit a ``new`` request; or ``keep`` the
        generation of an earlier try, also if it was returned.
    :param flux_conn_id: id of the connection to BFL. Default ``flux_default``. (templated)
    :param inline_wait: seconds, or a ``timedelta``, to wait on the worker before the task defers.
        Default 30. With 0 it defers at once.
    :param deferrable: whether the task may defer. Default: ``[operators] default_deferrable``.
    :param poll_interval: shortest seconds, or ``timedelta``, between two polls, 0.1 or more.
        Default 0.5. The interval grows to a tenth of the time since the submit.
    :param timeout: seconds, or a ``timedelta``, from the submit after which to give up, in
        whichever try. Default: ten times the usual duration of the model, and at least ten minutes.
        ``execution_timeout`` shortens it, because Airflow does not enforce that while a task is
        deferred.
    :param wait: whether the task waits for the image. Default ``True``. With ``False`` it ends when
        BFL has accepted the request. Its XCom is the generation, for
        :class:`~airflow_provider_flux.transfers.flux_to_object_storage.FluxToObjectStorageOperator`.
    :param ready_asset: with ``wait=False``: asset that gets an event from the receiver when the
        image is ready. The extra of the event is the generation. None by default.
    :param partition_key: partition of the assets in ``outlets``, for example
        ``{{ params.sku }}``. A task may name them from Airflow 3.3 on. None by default.
        (templated)
    :param priority: priority of the submit among the tasks of the account: ``high``, ``normal``
        (default) or ``low``. See the page about sharing the quota.
    :param validate: check the model and its parameters against the catalog of this version. Default
        ``True``. ``False`` sends unknown models and parameters.
    :raises FluxRequestError: when the DAG is parsed, if a literal argument is wrong.
    """

    #: Airflow's registry reads this marker: a retry resumes what an earlier try submitted.
    __supports_durable_execution: ClassVar[bool] = True
    template_fields: Sequence[str] = (
        *NAMED_PARAMETERS,
        "model",
        "parameters",
        "ledger_path",
        "partition_key",
        *FluxLandingOperator.template_fields,
    )
    key_source = "task"
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **FluxLandingOperator.template_fields_renderers,
        "parameters": "json",
    }
    text_fields: ClassVar[frozenset[str]] = FluxLandingOperator.text_fields | {
        *("prompt", "model", "output_format", "webhook_url", "webhook_secret", "ledger_path"),
        "partition_key",
    }

    def __init__(
        self,
        *,
        prompt: str | None = None,
        model: str = "flux-pro-1.1",
        width: int | str | None = None,
        height: int | str | None = None,
        prompt_upsampling: bool | str | None = None,
        seed: int | str | None = None,
        safety_tolerance: int | str | None = None,
        output_format: str | None = None,
        webhook_url: str | None = None,
        webhook_secret: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        reuse: Reuse = "never",
        ledger_path: str | None = None,
        on_uncertain: OnUncertain = "fail",
        on_change: OnChange = "new",
        on_clear: OnClear = "resume",
        inline_wait: float | timedelta = 30.0,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float | timedelta = 0.5,
        timeout: float | timedelta | None = None,
        wait: bool = True,
        ready_asset: Asset | None = None,
        partition_key: str | None = None,
        priority: Priority = "normal",
        validate: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = self._unrendered_model = model
        self.prompt = prompt
        self.width = width
        self.height = height
        self.prompt_upsampling = prompt_upsampling
        self.seed = seed
        self.safety_tolerance = safety_tolerance
        self.output_format = output_format
        self.webhook_url = webhook_url
        self.webhook_secret = webhook_secret
        self.parameters = parameters
        self.reuse = reuse
        self.inline_wait = arguments.parse_seconds("inline_wait", inline_wait, minimum=0)
        self.deferrable = deferrable
        self.poll_interval = arguments.parse_seconds("poll_interval", poll_interval, minimum=0.1)
        self.timeout = (
            None if timeout is None else arguments.parse_seconds("timeout", timeout, minimum=1)
        )
        self.wait = wait
        self.ready_asset = ready_asset
        check_ready_asset(ready_asset, wait=wait, output_path=self.output_path)
        self.partition_key = partition_key
        self.priority = check_priority(priority)
        self.validate = validate
        checked = arguments.check_ledger_path(ledger_path)
        self.ledger_path = ledger_path if self._is_from_mapped else checked
        self.on_uncertain, self.on_change, self.on_clear = on_uncertain, on_change, on_clear
        self._policy = ResumePolicy.of(
            on_uncertain=on_uncertain, on_change=on_change, on_clear=on_clear
        )
        self._submission: TrackedSubmission | None = None
        #: Set by the command line: it asks before the submit.
        self._confirm: Callable[[GenerationRequest], object] | None = None
        arguments.check_reuse(reuse, self.output_path, self.sidecar)
        if validate:
            named, is_complete = self._named_parameters(), self.has_whole_request
            arguments.check_literals(model, named, parameters, is_complete=is_complete)
        elif not arguments.is_resolved_later(model):
            route_of(model, known_models())
        self._hide_secrets()
        if self.has_whole_request:
            self._set_defaults()

    def execute(self, context: Context) -> Generation:
        """Submit the request, or resume what an earlier try submitted; wait for it, and land it.

        :param context: context of the task.
        :return: the generation.
        :raises AirflowFailException: for errors that a retry must not follow.
        :raises FluxError: for errors that a retry may help.
        """
        return self._run(context)

    def _run(self, context: Context) -> Generation:
        generation = self._submit_or_resume(context)
        self._emit_image_events(context, generation, self.partition_key)
        return generation

    def _submit_or_resume(self, context: Context) -> Generation:
        submission = self._start_tracking()
        names = ("webhook_url", "parameters")
        self._webhook_hosts = self._webhook_hosts_in_source(context, names)
        plan: LandingPlan | None = None
        with (
            fail_without_retry(self, submission),
            self._observe_failure(),
            self._releasing_claim(lambda: plan),
            ExitStack() as inputs,
        ):
            folder = self._ledger_folder()
            publish_ledger_folder(context, folder)
            request = self._build_request()
            plan = self._landing_plan(context, reuse=self.reuse)
            submission.read_earlier_tries(context, folder, plan.target if plan else None)

            request, plan, decision = self._decide(request, plan, inputs)
            submission.settle_budgets(self.hook)
            match decision:
                case "submit":
                    check_sibling_tasks(self.task_id, context.get("dag"))
                    if existing := self._find_or_claim(request, plan):
                        record_reused(existing, request.model)
                        return self._add_landed(existing)
                    self._prove_writable(plan, folder)
                    if self._confirm:
                        self._confirm(request)
                    request = self._add_webhook(request, context)
                    submission.submit(
                        self.hook,
                        request,
                        plan,
                        self._wait_policy.max_wait,
                        confirm=lambda: self._renew_claim(plan),
                        priority=self.priority,
                    )
                    inputs.close()
                    return self._wait(plan, context)
                case "resume":
                    return self._wait(plan, context)
                case "return":
                    return self._land(plan)

    def _add_webhook(self, request: GenerationRequest, context: Context) -> GenerationRequest:
        """Return the request with a webhook URL by which the receiver finds this task."""
        push_ready_asset(self.ready_asset, request, context["ti"])
        return add_reference(request, self.hook, context["ti"])

    def _decide(
        self, request: GenerationRequest, plan: LandingPlan | None, inputs: ExitStack
    ) -> tuple[GenerationRequest, LandingPlan | None, Literal["submit", "resume", "return"]]:
        """Return the request with its inputs, its landing plan, and what to do.

        :param inputs: keeps the files of the inputs for a submit.
        """
        submission = self._tracked
        try:
            request = inputs.enter_context(self.hook.prepare_inputs(request))
        except FluxInputError as error:
            decision = submission.decide(None) if submission.can_resume else "submit"
            if decision == "submit":
                raise
            self.log.warning(
                "%s The input existed when an earlier try submitted the request. "
                "Resuming that generation.",
                error,
            )
        else:
            plan = plan.for_request(request) if plan else None
            decision = submission.decide(request.fingerprint)
        if decision != "submit":
            inputs.close()
            plan = submission.with_recorded_request(plan)
        return request, plan, decision

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> Generation:
        """Finish after the deferral: return what the trigger landed, or go on in its place.

        :param context: context of the task.
        :param event: event of :class:`~airflow_provider_flux.triggers.result.FluxResultTrigger`.
        :return: the generation.
        :raises AirflowFailException: for errors that a retry must not follow.
        :raises FluxError: for errors that a retry may help.
        """
        generation = self._complete(context, event)
        self._emit_image_events(context, generation, self.partition_key)
        return generation

    def _complete(self, context: Context, event: Mapping[str, Any]) -> Generation:
        from airflow_provider_flux.operators.deferral import DeferredState
        from airflow_provider_flux.triggers.result import read_event

        submission, state = self._start_tracking(), DeferredState()
        with (
            fail_without_retry(self, submission),
            self._observe_failure(),
            self._releasing_claim(lambda: state.plan),
        ):
            submission.generation = generation = read_event(event)
            record_deferred(generation, event.get("timings"))
            state = self._read_state(context)
            target = state.plan.target if state.plan else None
            if state.plan:  # a decorated function, which set parameters, does not run again
                add_recorded_inputs(self.task_files.inputs, state.plan.request)
            submission.resume_deferred(context, state.record_uri, self._ledger_folder(), target)

            match event["status"]:
                case "landed":
                    self._log_ready(generation)
                    return self._return(generation)
                case _ if submission.has_landed:
                    return self._land(self._plan_after_deferral(context, state))
                case "error":
                    self._check_timeout(error_from_dict(event["error"]))
                    return self._wait_on_worker(self._plan_after_deferral(context, state))
                case "ready":
                    self._log_handover(event)
                    return self._land(self._plan_after_deferral(context, state))
                case "notified":
                    return self._wait_after_webhook(
                        self._plan_after_deferral(context, state), context
                    )
                case _:
                    self._log_handover(event)
                    return self._wait_on_worker(self._plan_after_deferral(context, state))

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context
    ) -> Any:
        """Resume after a deferral, also after one that Airflow ended itself.

        Airflow ends a deferral if no triggerer ran the trigger in time, or if the trigger could not
        start, and would fail the task. The image may be ready, so the worker goes on instead.

        :param next_method: method to call; ``__fail__`` if Airflow ended the deferral.
        :param next_kwargs: arguments of the method, or the ``error`` that ended the deferral.
        :param context: context of the task.
        """
        from airflow_provider_flux.operators.deferral import DeferredState

        generation = None
        if next_method == "__fail__":
            generation = DeferredState.load(context["ti"], self.task_id).generation
        if generation is None:
            if next_method == "__fail__" and self.reuse != "never":  # it waited for another task
                self._stays_on_worker = True
                return self.execute_after_claim(context)
            return super().resume_execution(next_method, next_kwargs, context)
        error = (next_kwargs or {}).get("error", "unknown")
        reason = f"Airflow ended the deferral ({error})"
        event = {"status": "hand_over", "reason": reason, "generation": generation}
        return self.execute_complete(context, event)

    def on_kill(self) -> None:
        """Stop submitting, and log how to get the image of a submitted request.

        BFL has no cancel: a submitted request is billed.
        """
        submission = self._submission
        if submission and (message := submission.stop()):
            remedy = describe_recovery(submission) if submission.generation else ""
            self.log.warning("%s %s", message, remedy)

    def _ledger_folder(self) -> str | None:
        """Return the folder of the task's records; ``None`` if they are no files."""
        if self.ledger_path:
            return f"{arguments.check_rendered_ledger_path(self.ledger_path)}/"
        return f"{folder}{LEDGER_FOLDER}" if (folder := self._fixed_folder()) else None
