"""The target of one image: where to land it, and how."""

from __future__ import annotations

import re
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
)

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.landing.output_path import (
    fill_placeholders,
    fixed_folder,
    placeholders_in,
)
from airflow_provider_flux.landing.rendition_options import (
    Renditions,
    check_renditions,
    default_renditions,
    find_image_problem,
    find_unknown_member,
)
from airflow_provider_flux.media.info import ALL_FORMATS, MediaInfo

if TYPE_CHECKING:
    from airflow_provider_flux.object_store.backends import WriteOptions

IfExists = Literal["overwrite", "skip", "error"]
Reuse = Literal["never", "run", "always"]
#: Longest value of user metadata.
_MAX_METADATA_CHARACTERS = 256
_NOT_ASCII = re.compile(r"[^\x21-\x7e]")


def _check_bool(value: Any) -> Any:
    if not isinstance(value, bool):
        raise ValueError("must be True or False")
    return value


_Bool = Annotated[bool, BeforeValidator(_check_bool)]


class LandingOptions(BaseModel):
    """The options of a landing; each is an argument of the operators, with the same default.

    :param if_exists: whether to ``overwrite`` an object at the target, to ``skip`` the landing, or
        to raise an ``error``.
    :param sidecar: write a sidecar beside the image.
    :param hide_prompt: keep only a hash of the prompt.
    :param embed_metadata: mark the bytes as AI-generated.
    :param on_mismatch: ``warn`` about a result that differs from the request, or ``fail``.
    :param cache_control: ``Cache-Control`` header of the stored image.
    :param store_options: further options of the write, by the store's own names.
    :param renditions: renditions of the image by name; empty for none.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    if_exists: IfExists = "overwrite"
    sidecar: _Bool = True
    hide_prompt: _Bool = False
    embed_metadata: _Bool = False
    on_mismatch: Literal["warn", "fail"] = "warn"
    cache_control: Annotated[str, Field(pattern="^[ -~]+$")] | None = None
    store_options: dict[str, JsonValue] = Field(default_factory=dict)
    renditions: Annotated[Renditions, AfterValidator(check_renditions)] = Field(
        default_factory=default_renditions
    )

    @classmethod
    def parse(cls, **arguments: Any) -> LandingOptions:
        """Check the arguments of an operator.

        :param arguments: values by name; ``None`` stands for the default.
        :raises FluxRequestError: if a value is invalid. The message names the argument, its value
            and the allowed ones.
        """
        if problem := find_unknown_member(arguments.get("renditions")):
            raise FluxRequestError(problem)
        try:
            return cls(**{name: value for name, value in arguments.items() if value is not None})
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            name, *members = first["loc"]
            member = "".join(f"[{part!r}]" for part in members if part != "[key]")
            value = first["input"] if members else arguments[str(name)]
            reason = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
            raise FluxRequestError(f"{name}{member}={value!r}: {reason}.") from None

    @property
    def hides_prompt(self) -> bool:
        """Whether only a hash of the prompt is kept: on request, or for lack of a sidecar."""
        return self.hide_prompt or not self.sidecar

    def check_store_options(self, path: str) -> None:
        """Check ``store_options`` against the kind of store that a path names.

        :param path: URI or local path.
        :raises FluxRequestError: if the store has no such option, or the value is invalid.
        """
        from airflow_provider_flux.object_store.backends import backend_of, scheme_of

        scheme = scheme_of(path)
        backend = backend_of(scheme)
        unknown = sorted(set(self.store_options) - backend.options)
        if unknown:
            known = ", ".join(sorted(backend.options)) or "none"
            raise FluxRequestError(
                f"store_options has {unknown[0]!r}, which {scheme or 'file'}:// does not support. "
                f"Supported options: {known}."
            )
        for name, value in self.store_options.items():
            if problem := backend.find_problem(name, value):
                raise FluxRequestError(f"store_options[{name!r}]={value!r} {problem}.")

    def check_rendition_paths(self, path: str) -> None:
        """Check that no rendition replaces its image.

        :param path: ``output_path``, whose templates may not be rendered yet.
        :raises FluxRequestError: if a rendition may have the name of the image.
        """
        if problem := find_image_problem(self.renditions, path):
            raise FluxRequestError(problem)


class Target(BaseModel):
    """The location of one image, and the options of its landing.

    :param path: ``output_path``, rendered and checked, with its placeholders.
    :param index: value of ``{index}``.
    :param key: value of ``{key}``.
    :param host: host name of the worker.
    :param root: the folder at the beginning of ``output_path``, before templates and placeholders.
    :param reuse: whether an existing image may take the place of a submit, and of which runs.
    :param options: the options of the landing.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    path: str
    index: int = 0
    key: str = "0"
    host: str = Field(default_factory=socket.gethostname)
    root: str = ""
    reuse: Reuse = "never"
    options: LandingOptions = LandingOptions()

    @property
    def folder(self) -> str:
        """The folder below which all images of the task land, with a slash at its end.

        It is ``root``, or the fixed beginning of the rendered path; empty if there is neither.
        """
        return self.root or fixed_folder(self.path)

    def fill(self, **values: Any) -> str:
        """Return ``path`` with ``{key}``, ``{index}`` and further placeholders filled in.

        :param values: values of further placeholders, by name.
        :raises KeyError: if ``path`` holds a placeholder that has no value.
        """
        return fill_placeholders(self.path, {"key": self.key, "index": self.index, **values})

    def uri_for(self, generation: Generation, *, ext: str, sha256: str) -> str:
        """Return the URI that the image of a generation gets.

        :param generation: the generation.
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
        """Return the URI that the image of a generation gets, once its bytes are known.

        :param generation: the Ready generation.
        :param info: format and hash of the bytes.
        """
        return self.uri_for(generation, ext=info.format, sha256=info.sha256)

    def possible_uris(self, generation: Generation) -> list[str]:
        """Return the URIs the image of a generation can get, one for each format.

        :param generation: the generation.
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
        """Return how to store the image: content type, user metadata and options of the store.

        :param generation: the Ready generation.
        :param info: format and hash of the bytes.
        """
        facts = {
            "model": generation["model"],
            "seed": generation["seed"],
            "request-id": generation["request_id"],
            "sha256": info.sha256,
        }
        from airflow_provider_flux.object_store.backends import WriteOptions

        return WriteOptions(
            content_type=info.content_type,
            cache_control=self.options.cache_control,
            metadata={
                name: _NOT_ASCII.sub("_", str(value))[:_MAX_METADATA_CHARACTERS]
                for name, value in facts.items()
                if value is not None
            },
            options=self.options.store_options,
        )

    def companion_write_options(self, content_type: str) -> WriteOptions:
        """Return how to store a file beside the image, with the same encryption and access.

        :param content_type: MIME type of the file.
        """
        from airflow_provider_flux.object_store.backends import (
            WriteOptions,
            backend_of,
            scheme_of,
        )

        shared = backend_of(scheme_of(self.path)).shared
        options = {
            name: value for name, value in self.options.store_options.items() if name in shared
        }
        return WriteOptions(content_type, options=options)

    def rendition_write_options(self, generation: Generation, info: MediaInfo) -> WriteOptions:
        """Return how to store a rendition: as its image, with the options of a file beside it.

        :param generation: the Ready generation.
        :param info: format and hash of the rendition.
        """
        options = self.companion_write_options(info.content_type).options
        return replace(self.write_options_of(generation, info), options=options)

    def is_on_this_host(self) -> bool:
        """Whether this machine can write to the target: a local path is on the worker's disk."""
        is_local = self.path.startswith(("/", "file:", "local:"))
        return not is_local or self.host == socket.gethostname()
