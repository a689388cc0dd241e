"""FluxGenerateOperator: one prompt, one image."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import conf

from airflow_provider_flux import arguments
from airflow_provider_flux.bfl.errors import error_from_dict
from airflow_provider_flux.bfl.generation import GenerationRequest, build_request, estimate_cost
from airflow_provider_flux.bfl.responses import Status, Submission, TaskResult
from airflow_provider_flux.compat import mask_secret
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing_operator import FluxLandingOperator, with_request
from airflow_provider_flux.media.source import hide
from airflow_provider_flux.models import known_models
from airflow_provider_flux.patience import longest_wait, would_wait_in_vain
from airflow_provider_flux.retries import failing_for_good, how_to_collect
from airflow_provider_flux.storage.target import Reuse, Target, read_target
from airflow_provider_flux.triggers.result import FluxResultTrigger, read_event
from airflow_provider_flux.xcom import Generation, describe_cost, ready, submission_of, submitted

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

#: Seconds a deferral lasts at least. The scheduler can fail a task whose trigger fires while it still
#: handles the first half of the task (apache/airflow issues 71580, 72716), and the image is paid for.
_SHORTEST_DEFERRAL = 10.0
#: Seconds after our own deadline at which Airflow ends a deferral whose trigger is gone.
_BACKSTOP = 60.0
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
    the image lands are those of :class:`~airflow_provider_flux.landing_operator.FluxLandingOperator`.

    XCom: :class:`~airflow_provider_flux.xcom.Generation`, a small dict with ``request_id``,
    ``polling_url``, ``model``, ``status``, ``seed``, ``fingerprint``, ``cost``, ``cost_source``,
    ``estimated_cost``, ``submitted_at``, ``reused``, ``image`` and ``video`` (``uri``, ``sha256``, ``bytes``,
    ``width``, ``height``, ``content_type``, ``sidecar``; ``None`` until one has landed).

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
    :param flux_conn_id: connection to BFL.
    :param inline_wait: seconds to wait on the worker before deferring; 0 defers at once.
    :param deferrable: whether to defer at all; ``[operators] default_deferrable`` by default.
    :param poll_interval: shortest seconds between polls; it grows to a tenth of the time waited.
    :param timeout: seconds from the submit after which to give up, wherever the task waits then. By
        default ten times what the model usually takes, and ten minutes at least.
        ``execution_timeout``, which Airflow does not enforce while a task is deferred, shortens it.
    :param validate: ``False`` sends models and parameters that this version does not know.
    :raises FluxRequestError: when the DAG is parsed, for a mistake in a literal argument.
    """

    template_fields: Sequence[str] = (*_NAMED, "model", "parameters", *FluxLandingOperator.template_fields)
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
        self.inline_wait = arguments.seconds("inline_wait", inline_wait, minimum=0)
        self.deferrable = deferrable
        self.poll_interval = arguments.seconds("poll_interval", poll_interval, minimum=0.1)
        self.timeout = None if timeout is None else arguments.seconds("timeout", timeout, minimum=1)
        self.validate = validate
        self._paid_for: Generation | None = None
        self._is_submitting = False
        arguments.check_reuse(reuse, self.output_path, self.sidecar)
        if validate:
            arguments.check_literals(model, self._named(), parameters)
        self._settle_arguments()

    def _settle_arguments(self) -> None:
        """Show the defaults that will be sent, note what is templated, and hide a literal secret.

        Template fields are stored in the serialized DAG, where a literal secret could be read.
        """
        given = {**self._named(), **_as_dict(self.parameters)}
        self._resolved_later = frozenset(name for name, value in given.items() if arguments.is_resolved_later(value))
        self._secret: str | None = None
        if given.get("webhook_secret") and not arguments.is_resolved_later(given["webhook_secret"]):
            self._secret, self.webhook_secret = given["webhook_secret"], None
            if isinstance(self.parameters, Mapping):
                self.parameters = {name: value for name, value in self.parameters.items() if name != "webhook_secret"}
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
        """Submit, wait a moment, and defer or finish."""
        self._paid_for = None
        with failing_for_good(paid_for=lambda: self._paid_for):
            request = self._build_request()
            target = self._target(context, reuse=self.reuse)
            with self.hook.prepared(request) as request:
                if target:
                    target = with_request(target, request)
                    if existing := self._find_existing(target, request):
                        return existing
                generation, submission = self._submit(request)
            deadline = submission.submitted_at + self._time_to_wait()
            if self.deferrable and would_wait_in_vain(self.model, self.inline_wait):
                self._defer(generation, deadline, target, context)
            result = self.hook.wait(
                submission,
                deadline=deadline,
                poll_interval=self.poll_interval,
                pause_at=time.time() + self.inline_wait if self.deferrable else None,
            )
            if result is None:
                self._defer(generation, deadline, target, context)
            return self._finish(generation, target, result)

    def _find_existing(self, target: Target, request: GenerationRequest) -> Generation | None:
        """Look for an image that makes the request needless."""
        if target.reuse == "never" and target.options.if_exists == "overwrite":
            return None
        from airflow_provider_flux.storage.reuse import find  # Pillow: not at DAG parse time
        from airflow_provider_flux.stores import run

        return run(find(target, estimate_cost(request).credits))

    def _submit(self, request: GenerationRequest) -> tuple[Generation, Submission]:
        """Pay. What was paid for is noted at once, before anything else can go wrong."""
        self.log.info("Submitting to %s: %s", request.model, estimate_cost(request))
        self._is_submitting = True
        submission = self.hook.submit(request, max_wait=self._time_to_wait())
        generation = self._paid_for = submitted(request, submission)
        self.log.info(
            "Submitted request %s to %s (%s), to be polled at %s",
            generation["request_id"],
            request.model,
            describe_cost(generation),
            generation["polling_url"],
        )
        return generation, submission

    def execute_complete(
        self, context: Context, event: Mapping[str, Any], target: Mapping[str, Any] | None = None
    ) -> Generation:
        """Go on after the deferral: raise what the trigger met, or land what is ready and has not landed yet."""
        with failing_for_good():
            generation = read_event(event)
        self._paid_for = generation
        with failing_for_good(paid_for=generation):
            if "error" in event:
                raise error_from_dict(event["error"])
            if event["status"] == "landed":
                self._tell_ready(generation)
                return generation
            if reason := event.get("reason"):
                self.log.warning("Going on on the worker: %s", reason)
            wanted = read_target(target) or self._target(context, reuse=self.reuse)
            if event["status"] == "ready":
                return self._finish(generation, wanted)
            submission = submission_of(generation)
            deadline = max(submission.submitted_at + self._time_to_wait(), time.time())
            if wanted is not None:  # it may have landed on the triggerer, and BFL may keep it no longer
                return self._finish(generation, wanted, deadline=deadline)
            result = self.hook.wait(submission, deadline=deadline, poll_interval=self.poll_interval)
            return self._finish(generation, None, result)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a deferral that Airflow ended itself: no triggerer ran the trigger, or it could not start.

        Airflow would fail the task, and its retry would pay again. The image may well be ready by now.
        """
        ti = context["ti"]
        is_failed = next_method == "__fail__"
        recorded = is_failed and ti.xcom_pull(task_ids=self.task_id, key=_RECORD, map_indexes=ti.map_index)
        if not recorded:
            return super().resume_execution(next_method, next_kwargs, context)
        reason = f"Airflow ended the deferral ({(next_kwargs or {}).get('error', 'unknown')})"
        event = {"status": "hand_over", "reason": reason, "generation": recorded}
        return self.execute_complete(context, event, target=recorded.get("target"))

    def on_kill(self) -> None:
        """Say what goes on: BFL has no cancel."""
        generation = self._paid_for
        if generation is None and self._is_submitting:
            self.log.warning("Killed during the submit: the image may be generated and billed.")
        if generation:
            self.log.warning(
                "Killed. BFL has no cancel: request %s goes on and is billed. %s",
                generation["request_id"],
                how_to_collect(generation),
            )

    def _build_request(self) -> GenerationRequest:
        named = {**self._named(), "webhook_secret": self._secret or self.webhook_secret}
        if named["webhook_secret"]:
            mask_secret(named["webhook_secret"])
        merged = arguments.merge(named, self.parameters)
        return build_request(
            self.model, merged, validate=self.validate, rendered=self._resolved_later, models=known_models()
        )

    def _time_to_wait(self) -> float:
        return longest_wait(self.model, self.timeout, self.execution_timeout)

    def _defer(self, generation: Generation, deadline: float, target: Target | None, context: Context) -> None:
        now = time.time()
        wanted = target.model_dump(mode="json") if target else None
        kept = target.without_prompt().model_dump(mode="json") if target else None
        context["ti"].xcom_push(key=_RECORD, value={**generation, "target": kept})
        self.defer(
            trigger=FluxResultTrigger(
                flux_conn_id=self.flux_conn_id,
                generation=generation,
                deadline=deadline,
                not_before=now + _SHORTEST_DEFERRAL,
                poll_interval=self.poll_interval,
                target=wanted,
            ),
            method_name="execute_complete",
            kwargs={"target": wanted},
            timeout=timedelta(seconds=max(deadline - now, _SHORTEST_DEFERRAL) + _BACKSTOP),
        )

    def _finish(
        self,
        generation: Generation,
        target: Target | None,
        result: TaskResult | None = None,
        deadline: float | None = None,
    ) -> Generation:
        if result is not None:
            generation = ready(generation, result)
        if generation["status"] == Status.READY:
            self._tell_ready(generation)
        if target is None:
            return generation
        from airflow_provider_flux.storage.landing import land  # Pillow: not at DAG parse time
        from airflow_provider_flux.stores import open_path

        open_path(target.path)
        return land(self.hook, generation, target, result=result, deadline=deadline)

    def _tell_ready(self, generation: Generation) -> None:
        self.log.info(
            "Request %s is ready, seed %s, %s", generation["request_id"], generation["seed"], describe_cost(generation)
        )


def _as_dict(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}
