"""FluxGenerateOperator: one prompt, one image."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import conf

from airflow_provider_flux.bfl.errors import FluxInputError, error_from_dict
from airflow_provider_flux.bfl.request import GenerationRequest, build_request
from airflow_provider_flux.compat import mask_secret
from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.plan import LandingPlan, read_landing_plan
from airflow_provider_flux.landing.target import Reuse
from airflow_provider_flux.ledger.ledger_folder import LEDGER_FOLDER, publish_ledger_folder
from airflow_provider_flux.ledger.resume_policy import OnChange, OnClear, OnUncertain, ResumePolicy
from airflow_provider_flux.ledger.submission import TrackedSubmission
from airflow_provider_flux.media.source import hide
from airflow_provider_flux.operators import arguments
from airflow_provider_flux.operators.base import FluxLandingOperator
from airflow_provider_flux.operators.collecting import collect, find_existing, tell_ready, wait_here
from airflow_provider_flux.operators.deferral import deferral
from airflow_provider_flux.operators.failures import describe_recovery, fail_without_retry
from airflow_provider_flux.operators.wait_policy import WaitPolicy
from airflow_provider_flux.triggers.result import read_event

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

#: XCom key of what was submitted, for the case that the deferral ends without an event.
_RECORD = "submitted"
_NAMED = (
    "prompt",
    "width",
    "height",
    "prompt_upsampling",
    "seed",
    "safety_tolerance",
    "output_format",
    "webhook_url",
    "webhook_secret",
)


class FluxGenerateOperator(FluxLandingOperator):
    """Generate one image or video with FLUX and, with ``output_path``, land it in object storage.

    The task submits once, waits up to ``inline_wait`` seconds on the worker, where most images are
    done, and then defers: the triggerer polls, and the worker slot is free. A model that usually takes a
    minute or more, and longer than ``inline_wait``, defers at once. Mistakes in literal arguments fail
    when the DAG is parsed, in templated ones before anything is paid. The arguments that say where and how
    the image lands are those of :class:`~airflow_provider_flux.operators.base.FluxLandingOperator`.

    XCom: :class:`~airflow_provider_flux.generation.Generation`, a small dict with ``request_id``,
    ``polling_url``, ``model``, ``status``, ``seed``, ``fingerprint``, ``cost``, ``cost_source``,
    ``estimated_cost``, ``submitted_at``, ``reused``, ``uncertain_submits``, ``image`` and ``video`` (``uri``,
    ``sha256``, ``bytes``, ``width``, ``height``, ``content_type``, ``sidecar``; ``None`` until one has landed).

    What is submitted is written down before and after: in files below the beginning of ``output_path``, or of
    ``ledger_path``, or, with neither, in the task state store of Airflow 3.3. A retry collects what an earlier try has
    paid for. A user who clears a task that has ended well gets a new image.

    The parameters of FLUX1.1 [pro] are named arguments; their defaults are sent for that model. For
    other models only what you give is sent. All of them are templated.

    :param prompt: what the image should show.
    :param model: name of the model, ``flux-pro-1.1`` by default.
    :param width: pixels, 256 to 1440 in steps of 32; 1024 by default.
    :param height: pixels, 256 to 1440 in steps of 32; 1024 by default.
    :param prompt_upsampling: let the service rewrite the prompt; ``False`` by default.
    :param seed: for reproducible images; random by default. The effective seed is in the XCom.
    :param safety_tolerance: moderation from 0 (most strict) to 6; 2 by default.
    :param output_format: ``jpeg`` (default), ``png`` or ``webp``.
    :param webhook_url: URL that BFL tells when the image is ready, beside the polling done here.
    :param webhook_secret: sent to the webhook in ``X-Webhook-Secret``. Better kept in the connection,
        whose ``webhook_secret`` is used when this is not given: Airflow stores the source of DAG files,
        and the arguments of ``partial()``, in its database.
    :param parameters: further parameters of the model by BFL's names, or all those of another model.
        An image, mask or video may be a URI of an object store (``s3://my_conn@bucket/key``, ``gs://``,
        ``abfs://``, ``file://``), an http(s) URL, an absolute path, or base64; it is read on the worker.
    :param reuse: whether an image that exists already, made by the same model from the same parameters and
        inputs, is taken instead of paying for another: ``never`` (default), ``run`` (made in this DAG run)
        or ``always``. It is looked for below the beginning of ``output_path`` that has no templates.
    :param ledger_path: folder for the records of what was submitted, an absolute path or a URI of
        ``ObjectStoragePath``; by default ``_flux/ledger/`` below the beginning of ``output_path`` that has no
        templates. (templated)
    :param on_uncertain: what to do when a worker was lost between the submit and its answer, so that nobody knows
        whether it was billed: ``fail`` (default) until a user clears the task, or ``resubmit`` in the next try.
    :param on_change: what to do when the request is another than the one an earlier try has paid for: submit the
        ``new`` one (default) and warn, ``resume`` the old one, or ``fail``.
    :param on_clear: what a cleared task does: ``resume`` (default) a generation that no try has returned, and submit
        otherwise; always submit a ``new`` request; or ``keep`` the landed image of an earlier try, and submit only
        if there is none.
    :param flux_conn_id: connection to BFL.
    :param inline_wait: seconds to wait on the worker before deferring; 0 defers at once.
    :param deferrable: whether to defer at all; ``[operators] default_deferrable`` by default.
    :param poll_interval: shortest seconds between polls; it grows to a tenth of the time waited.
    :param timeout: seconds from the submit after which to give up, wherever and in whichever try the task waits. By
        default ten times what the model usually takes, and ten minutes at least.
        ``execution_timeout``, which Airflow does not enforce while a task is deferred, shortens it.
    :param validate: ``False`` sends models and parameters that this version does not know.
    :raises FluxRequestError: when the DAG is parsed, for a mistake in a literal argument.
    """

    template_fields: Sequence[str] = (
        *_NAMED,
        "model",
        "parameters",
        "ledger_path",
        *FluxLandingOperator.template_fields,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **FluxLandingOperator.template_fields_renderers,
        "parameters": "json",
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
        validate: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
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
        self.validate = validate
        self.ledger_path = arguments.check_ledger_path(ledger_path)
        self.on_uncertain, self.on_change, self.on_clear = on_uncertain, on_change, on_clear
        self._policies = ResumePolicy.of(
            on_uncertain=on_uncertain, on_change=on_change, on_clear=on_clear
        )
        self._purchase: TrackedSubmission | None = None
        arguments.check_reuse(reuse, self.output_path, self.sidecar)
        if validate:
            arguments.check_literals(model, self._named(), parameters)
        self._settle_arguments()

    def _settle_arguments(self) -> None:
        """Show the defaults that will be sent, note what is templated, and hide a literal secret."""
        given = {**self._named(), **_as_dict(self.parameters)}
        self._resolved_later = frozenset(
            name for name, value in given.items() if arguments.is_resolved_later(value)
        )
        self._secret, self.webhook_secret, self.parameters = arguments.split_off_secret(
            self.webhook_secret, self.parameters
        )
        self.parameters = arguments.hide_inputs(self.model, self.parameters)
        if self.parameters is not None and not isinstance(self.parameters, Mapping):
            return  # an XComArg: it may turn out to give any parameter
        for name, value in arguments.sent_defaults(self.model).items():
            if given.get(name) is None:
                setattr(self, name, value)

    def _named(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _NAMED}

    @cached_property
    def hook(self) -> FluxHook:
        """The hook of the connection."""
        return FluxHook(self.flux_conn_id)

    def render_template(self, content: Any, *args: Any, **kwargs: Any) -> Any:
        """Render as Airflow does; base64 that comes out is wrapped before Airflow stores the rendered fields."""
        return hide(super().render_template(content, *args, **kwargs))

    def execute(self, context: Context) -> Generation:
        """Collect what an earlier try has paid for, or submit; wait a moment, and defer or finish."""
        self._purchase = purchase = TrackedSubmission(self._policies, self.log)
        with fail_without_retry(purchase):
            folder = self._ledger_folder()
            publish_ledger_folder(context, folder)
            request = self._build_request()
            plan = self._landing_plan(context, reuse=self.reuse)
            purchase.read_earlier_tries(context, folder, plan.target if plan else None)
            try:
                with self.hook.prepare_inputs(request) as request:
                    plan = plan.for_request(request) if plan else None
                    action = purchase.decide(request.fingerprint)
                    if action == "submit":
                        if plan and (existing := find_existing(plan, request)):
                            return existing
                        purchase.submit(self.hook, request, plan, self._patience.longest)
            except FluxInputError as error:
                if not purchase.can_resume or (action := purchase.decide(None)) == "submit":
                    raise
                self.log.warning(
                    "%s It was there when the request was submitted, which is collected now.", error
                )
            plan = purchase.with_recorded_request(plan)
            if action == "return":
                return self._collect(plan)
            result = wait_here(self.hook, self._patience, purchase.accepted, plan)
            if isinstance(result, dict):  # it had landed, and BFL keeps it no longer
                return purchase.mark_returned(result)
            if result is None:
                self._defer(plan, context)
            return self._collect(plan, result=result)

    def execute_complete(
        self,
        context: Context,
        event: Mapping[str, Any],
        landing_plan: Mapping[str, Any] | None = None,
        record: str | None = None,
    ) -> Generation:
        """Go on after the deferral: raise what the trigger met, or land what is ready and has not landed yet."""
        self._purchase = purchase = TrackedSubmission(self._policies, self.log)
        with fail_without_retry(purchase):
            purchase.generation = generation = read_event(event)
            plan = read_landing_plan(landing_plan)
            purchase.resume_deferred(
                context, record, self._ledger_folder(), plan.target if plan else None
            )
            if purchase.has_landed and event["status"] != "landed":
                return self._collect(plan or self._landing_plan(context, reuse=self.reuse))
            if "error" in event:
                raise error_from_dict(event["error"])
            if event["status"] == "landed":
                tell_ready(self.log, generation)
                return purchase.mark_returned(generation)
            if reason := event.get("reason"):
                self.log.warning("Going on on the worker: %s", reason)
            plan = plan or self._landing_plan(context, reuse=self.reuse)
            if event["status"] == "ready":
                return self._collect(plan)
            deadline = max(self._patience.deadline_of(generation), time.time())
            if (
                plan is not None
            ):  # it may have landed on the triggerer, and BFL may keep it no longer
                return self._collect(plan, deadline=deadline)
            return self._collect(
                None, result=self._patience.wait_on(self.hook, generation, deadline)
            )

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context
    ) -> Any:
        """Go on after a deferral that Airflow ended itself: no triggerer ran the trigger, or it could not start.

        Airflow would fail the task. The image may well be ready by now.
        """
        ti = context["ti"]
        is_failed = next_method == "__fail__"
        recorded = is_failed and ti.xcom_pull(
            task_ids=self.task_id, key=_RECORD, map_indexes=ti.map_index
        )
        if not recorded:
            return super().resume_execution(next_method, next_kwargs, context)
        reason = f"Airflow ended the deferral ({(next_kwargs or {}).get('error', 'unknown')})"
        event = {"status": "hand_over", "reason": reason, "generation": recorded}
        return self.execute_complete(
            context, event, landing_plan=recorded.get("landing_plan"), record=recorded.get("record")
        )

    def on_kill(self) -> None:
        """Submit no more, and say what goes on and how it is collected: BFL has no cancel."""
        purchase = self._purchase
        if purchase and (said := purchase.stop()):
            self.log.warning(
                "%s %s", said, describe_recovery(purchase) if purchase.generation else ""
            )

    def _build_request(self) -> GenerationRequest:
        named = {**self._named(), "webhook_secret": self._secret or self.webhook_secret}
        if named["webhook_secret"]:
            mask_secret(named["webhook_secret"])
        merged = arguments.merge_parameters(named, self.parameters)
        return build_request(
            self.model,
            merged,
            validate=self.validate,
            rendered=self._resolved_later,
            models=known_models(),
        )

    @property
    def _patience(self) -> WaitPolicy:
        return WaitPolicy(
            self.model,
            self.deferrable,
            self.inline_wait,
            self.poll_interval,
            self.timeout,
            self.execution_timeout,
        )

    def _ledger_folder(self) -> str | None:
        """Return the folder of the records of this task; ``None`` where they are no files."""
        if self.ledger_path:
            return f"{arguments.check_ledger_path(self.ledger_path)}/"
        return f"{root}{LEDGER_FOLDER}" if (root := self._root_of_output()) else None

    def _defer(self, plan: LandingPlan | None, context: Context) -> None:
        assert self._purchase is not None  # noqa: S101 - there is nothing to wait for without
        self._purchase.ensure_recorded()
        generation, record = self._purchase.accepted, self._purchase.record_uri
        plan_json = plan.without_prompt().model_dump(mode="json") if plan else None
        context["ti"].xcom_push(
            key=_RECORD, value={**generation, "landing_plan": plan_json, "record": record}
        )
        self.defer(
            **deferral(
                generation,
                self._patience,
                flux_conn_id=self.flux_conn_id,
                plan=plan,
                record=record,
            )
        )

    def _collect(self, plan: LandingPlan | None, **given: Any) -> Generation:
        assert self._purchase is not None  # noqa: S101 - there is nothing to collect without
        return collect(self.hook, self._purchase, plan, self.log, **given)


def _as_dict(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}
