"""The arguments of a generation operator that describe its request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from airflow_provider_flux.bfl.request import GenerationRequest, build_request
from airflow_provider_flux.bfl.stable_seed import is_stable, with_stable_seed
from airflow_provider_flux.bfl.webhook import is_receiver
from airflow_provider_flux.compat import mask_secret
from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.operators import arguments
from airflow_provider_flux.operators.base import FluxLandingOperator
from airflow_provider_flux.operators.result_format import (
    check_literal_suffix,
    check_suffix,
    format_of_path,
)

#: Parameters of a request that are arguments of the operator.
NAMED_PARAMETERS = (
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


class FluxRequestOperator(FluxLandingOperator):
    """Base class that builds the request of an operator. Do not use it by itself.

    The ``__init__`` of a subclass sets the attributes below, and then calls
    :meth:`_hide_secrets` and, if it has the whole request, :meth:`_set_defaults`.
    """

    #: Whether the arguments hold the whole request when the DAG is parsed.
    has_whole_request: ClassVar[bool] = True
    model: str
    seed: Any
    output_format: str | None
    webhook_url: str | None
    webhook_secret: str | None
    parameters: Mapping[str, Any] | None
    validate: bool

    def _hide_secrets(self) -> None:
        """Take secrets and base64 out of the arguments, and list those that are templated."""
        self._webhook_hosts = (
            ()
            if self._is_from_mapped
            else arguments.find_webhook_hosts(self.webhook_url, self.parameters)
        )
        self._resolved_later = frozenset(
            name
            for name, value in self._supplied_parameters().items()
            if arguments.is_resolved_later(value)
        )
        self._secret: str | None = None
        if not self._is_from_mapped:  # what another task returned must stay the same object
            self._secret, self.webhook_secret, self.parameters = arguments.split_off_secret(
                self.webhook_secret, self.parameters
            )
            self.parameters = arguments.hide_inputs(self.model, self.parameters)

    def _set_defaults(self) -> None:
        """Set the defaults that will be sent with the request of this model."""
        supplied = self._supplied_parameters()
        self._has_own_format = supplied.get("output_format") is not None
        if self.parameters is not None and not isinstance(self.parameters, Mapping):
            return  # an XComArg, which may set any parameter
        supplied["output_format"] = self._format_for(supplied)
        self.output_format = (
            supplied["output_format"] if "output_format" not in (self.parameters or {}) else None
        )
        for name, value in arguments.sent_defaults(self.model).items():
            if supplied.get(name) is None:
                setattr(self, name, value)
        if self.validate:
            check_literal_suffix(self.output_path, self.model, supplied)

    def _format_for(self, parameters: Mapping[str, Any]) -> Any:
        """Return the format to request: that of the user, or of the suffix of ``output_path``.

        :param parameters: parameters that the user has set.
        """
        requested = parameters.get("output_format")
        if requested is not None or not self.validate:
            return requested
        return format_of_path(self.output_path, self.model, parameters)

    @property
    def _draws_seeds(self) -> bool:
        return self.seed is None

    @property
    def _has_receiver(self) -> bool:
        return is_receiver(self._supplied_parameters().get("webhook_url"))

    def _named_parameters(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in NAMED_PARAMETERS}

    def _supplied_parameters(self) -> dict[str, Any]:
        """Return the named arguments and the members of ``parameters``."""
        parameters = self.parameters if isinstance(self.parameters, Mapping) else {}
        return {**self._named_parameters(), **parameters}

    def _build_request(self) -> GenerationRequest:
        named = {**self._named_parameters(), "webhook_secret": self._secret or self.webhook_secret}
        parameters = arguments.merge_parameters(named, self.parameters)
        if secret := parameters.get("webhook_secret"):
            mask_secret(secret)
        if not self._has_own_format and "output_format" not in (self.parameters or {}):
            # The suffix may come from a template.
            own = {name: value for name, value in parameters.items() if name != "output_format"}
            if chosen := self._format_for(own):
                parameters["output_format"] = chosen
        has_stable_seed = is_stable(parameters.get("seed"))
        if has_stable_seed:
            del parameters["seed"]
        request = build_request(
            self.model,
            parameters,
            validate=self.validate,
            rendered=self._resolved_later,
            models=known_models(),
        )
        if has_stable_seed:
            request = with_stable_seed(request)
        check_suffix(self.output_path, request)
        return request
