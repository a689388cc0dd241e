"""The target of one image: where to land it, and how."""

from __future__ import annotations

import re
import socket
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.landing.output_path import fill_placeholders, placeholders_in
from airflow_provider_flux.media.info import ALL_FORMATS, MediaInfo
from airflow_provider_flux.object_store.backends import WriteOptions, backend_of, scheme_of

IfExists = Literal["overwrite", "skip", "error"]
Reuse = Literal["never", "run", "always"]
_NOT_ASCII = re.compile(r"[^\x21-\x7e]")


def _is_bool(value: Any) -> Any:
    if not isinstance(value, bool):
        raise ValueError("must be True or False")
    return value


_Switch = Annotated[bool, BeforeValidator(_is_bool)]


class LandingOptions(BaseModel):
    """How images land; each field is an argument of the operators."""

    model_config = ConfigDict(frozen=True)

    if_exists: IfExists = "overwrite"
    sidecar: _Switch = True
    hide_prompt: _Switch = False
    embed_metadata: _Switch = False
    on_mismatch: Literal["warn", "fail"] = "warn"
    cache_control: Annotated[str, Field(pattern="^[ -~]+$")] | None = None
    store_options: dict[str, JsonValue] = Field(default_factory=dict)

    @classmethod
    def of(cls, **arguments: Any) -> LandingOptions:
        """Return the checked options.

        :raises FluxRequestError: naming the argument, its value and what it may be.
        """
        try:
            return cls(**{name: value for name, value in arguments.items() if value is not None})
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            name = str(first["loc"][0])
            said = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
            raise FluxRequestError(f"{name}={arguments[name]!r}: {said}.") from None

    @property
    def hides_prompt(self) -> bool:
        """Whether only a hash of the prompt is kept: on request, or for lack of a sidecar."""
        return self.hide_prompt or not self.sidecar

    def check_for(self, path: str) -> None:
        """Check the options of the store against the kind of store that ``path`` names.

        :raises FluxRequestError: naming the option, and those there are.
        """
        scheme = scheme_of(path)
        dialect = backend_of(scheme)
        known = dialect.options
        unknown = sorted(set(self.store_options) - known)
        if unknown:
            there_are = ", ".join(sorted(known)) or "none"
            raise FluxRequestError(
                f"store_options has {unknown[0]!r}, which {scheme or 'file'}:// does not take. It takes: {there_are}."
            )
        for name, value in self.store_options.items():
            if fault := dialect.find_fault(name, value):
                raise FluxRequestError(f"store_options[{name!r}]={value!r} {fault}.")


class Target(BaseModel):
    """Where to land one image, and how.

    :param path: ``output_path``, rendered and checked; its placeholders are still to be filled in.
    :param key: what ``{key}`` stands for.
    :param host: the machine of the worker.
    :param root: the folder at the beginning of ``output_path``, before templates and placeholders.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    index: int = 0
    key: str = "0"
    host: str = Field(default_factory=socket.gethostname)
    root: str = ""
    reuse: Reuse = "never"
    options: LandingOptions = LandingOptions()

    def fill(self, **values: Any) -> str:
        """Return ``path`` with ``{key}``, ``{index}`` and the given placeholders filled in.

        :param values: values of further placeholders, by name.
        :raises KeyError: if ``path`` holds a placeholder that has no value.
        """
        return fill_placeholders(self.path, {"key": self.key, "index": self.index, **values})

    def uri_for(self, generation: Generation, *, ext: str, sha256: str) -> str:
        """Return the URI that the image of a generation gets.

        :param ext: the format of the image, for example ``jpeg``.
        :param sha256: the hash of its bytes, in hexadecimal.
        """
        return self.fill(
            model=generation["model"],
            fingerprint=generation["fingerprint"],
            request_id=generation["request_id"],
            seed=generation["seed"],
            ext=ext,
            sha256=sha256,
        )

    def uri_of(self, generation: Generation, info: MediaInfo) -> str:
        """Return the URI that the image of a generation gets, once its bytes are known."""
        return self.uri_for(generation, ext=info.format, sha256=info.sha256)

    def possible_uris(self, generation: Generation) -> list[str]:
        """Return the URIs the image of a generation can get, one for each format.

        :return: an empty list if ``output_path`` has a placeholder whose value is not known yet.
        """
        known = {"key", "index", "model", "fingerprint", "ext", "request_id"}
        if generation["seed"] is not None:
            known.add("seed")
        if placeholders_in(self.path) - known:
            return []
        return list(
            dict.fromkeys(self.uri_for(generation, ext=ext, sha256="") for ext in ALL_FORMATS)
        )

    def write_options_of(self, generation: Generation, info: MediaInfo) -> WriteOptions:
        """Return how the image is to be stored, with what its store keeps beside the bytes."""
        facts = {
            "model": generation["model"],
            "seed": generation["seed"],
            "request_id": generation["request_id"],
            "sha256": info.sha256,
        }
        return WriteOptions(
            content_type=info.content_type,
            cache_control=self.options.cache_control,
            metadata={
                name: _NOT_ASCII.sub("_", str(value))[:256]
                for name, value in facts.items()
                if value is not None
            },
            options=self.options.store_options,
        )

    def companion_write_options(self, content_type: str) -> WriteOptions:
        """Return how what lies beside the image is to be stored: encrypted, say, as the image is."""
        shared = backend_of(scheme_of(self.path)).shared
        options = {
            name: value for name, value in self.options.store_options.items() if name in shared
        }
        return WriteOptions(content_type, options=options)

    def is_here(self) -> bool:
        """Whether what is written on this machine is written where the task means: a local path is on its worker."""
        is_local = self.path.startswith(("/", "file:", "local:"))
        return not is_local or self.host == socket.gethostname()
