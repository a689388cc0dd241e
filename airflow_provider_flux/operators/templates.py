"""Template fields: which values Airflow renders, and which of them stay text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeGuard

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.compat import arguments_in_source
from airflow_provider_flux.configured_models import text_parameters
from airflow_provider_flux.media.source import wrap_base64

if TYPE_CHECKING:
    import jinja2
    from airflow.providers.common.compat.sdk import Context

#: Names in rows, ``defaults`` and generations that are text and no parameters of a model.
_TEXT_MEMBERS = frozenset(
    {
        *("key", "model", "fallback_prompt", "fallback_model"),
        *("request_id", "polling_url", "fingerprint", "status", "submitted_at"),
    }
)
#: Without a value for these, the task would use another model or account, or land nothing.
_ALWAYS_TEXT = frozenset({"model", "output_path", "flux_conn_id"})
#: No Python expression begins with this character, so Jinja never reads a text with it as one.
_NOT_PYTHON = "\0"


class TextTemplatesOperator(BaseOperator):
    """Base class that renders templates, and keeps text as text.

    With ``render_template_as_native_obj=True``, Airflow evaluates a rendered text as Python: the
    prompt ``1984`` would become a number. Here a text that holds no template stays as it is, and a
    template gives text wherever a text is expected.

    A value that another task returned is never rendered. Airflow recognizes such a value of
    ``expand()`` by its identity, so ``__init__`` of a subclass must store it without a copy. The
    values of ``expand_kwargs()`` are recognized here.
    """

    #: Template fields that are text.
    text_fields: ClassVar[frozenset[str]] = frozenset()
    #: Text fields whose value may be the name of a file of ``template_ext``. Airflow would read
    #: such a file for every text, also for a prompt or a row that ends in ``.sql``.
    file_fields: ClassVar[frozenset[str]] = frozenset()

    def resolve_template_files(self) -> None:
        """Read the files that the fields of :attr:`file_fields` name, when the DAG is parsed.

        :raises FluxRequestError: if a file is neither beside the DAG file, nor in the
            ``template_searchpath`` of the DAG.
        """
        for name in self.file_fields:
            if self._is_file_name(value := getattr(self, name, None)):
                setattr(self, name, _read_file(name, value, self.get_template_env()))
        self.prepare_template()

    def _is_file_name(self, value: Any) -> TypeGuard[str]:
        if not isinstance(value, str):
            return False
        text = value.strip()
        return "\n" not in text and text.endswith(tuple(self.template_ext))

    def render_template(
        self,
        content: Any,
        context: Context,
        jinja_env: jinja2.Environment | None = None,
        seen_oids: set[int] | None = None,
    ) -> Any:
        """Render a value, and wrap base64 before Airflow stores the rendered fields.

        :param content: value of a template field, or a part of it.
        :param context: context of the task.
        :param jinja_env: environment of the DAG. By default it is created.
        :param seen_oids: ids of objects that must not be rendered.
        """
        env = jinja_env or self.get_template_env()
        seen = set() if seen_oids is None else seen_oids
        name = self._field_of(content)
        in_source = arguments_in_source(self, context) if name else None
        if in_source is not None and name not in in_source:
            seen.add(id(content))
        kind = "text" if name in self.text_fields else ""
        if name == "requests":
            kind = "texts"
        if name == "columns" and isinstance(content, dict):
            kind = "names"
        return wrap_base64(self._render_part(name, kind, content, (context, env, seen)))

    def _field_of(self, content: Any) -> str:
        """Return the template field that has a value; empty text for a part of one."""
        fields = (name for name in self.template_fields if getattr(self, name, None) is content)
        return next(fields, "")

    def _render_part(self, name: str, kind: str, content: Any, how: tuple[Any, Any, Any]) -> Any:
        """Render a value.

        :param name: name of the field, parameter or column.
        :param kind: ``text``, ``texts`` for a list of texts, ``names`` for a dict of texts, or
            empty for a value of any other type.
        :param content: the value.
        :param how: context, environment, and ids of objects that must not be rendered.
        """
        _, env, seen = how
        if id(content) in seen:
            return content
        if isinstance(content, str):
            if name in self.file_fields and self._is_file_name(content):  # of a mapped task
                content = _read_file(name, content, env)
            if not _has_template(content, env):
                return content
            if kind == "text":
                return self._render_text(name, content, how)
            return self._render_as_airflow(content, how)
        if type(content) is dict:
            kinds = {key: "text" if kind == "names" else _kind_of(str(key)) for key in content}
            return {
                key: self._render_part(str(key), kinds[key], value, how)
                for key, value in content.items()
            }
        if type(content) is list:
            item_kind = "text" if kind in {"text", "texts"} else ""
            return [self._render_part("", item_kind, item, how) for item in content]
        return self._render_as_airflow(content, how)

    def _render_text(self, name: str, content: str, how: tuple[Any, Any, Any]) -> str | None:
        """Render a template to text. ``None`` counts as not set."""
        marked: str = self._render_as_airflow(_NOT_PYTHON + content, how)
        text = marked.removeprefix(_NOT_PYTHON)
        return None if text == "None" and name and name not in _ALWAYS_TEXT else text

    def _render_as_airflow(self, content: Any, how: tuple[Any, Any, Any]) -> Any:
        if isinstance(content, str) and content.endswith(tuple(self.template_ext)):
            env = how[1]  # with a comment at its end, Airflow takes it for no name of a file
            content = f"{content}{env.comment_start_string} {env.comment_end_string}"
        return super().render_template(content, *how)


def _read_file(name: str, value: str, env: jinja2.Environment) -> str:
    """Return the text of a file that a template field names."""
    from jinja2 import TemplateNotFound

    try:
        if env.loader is None:
            raise TemplateNotFound(value)
        return env.loader.get_source(env, value.strip())[0]
    except TemplateNotFound:
        raise FluxRequestError(
            f"{name}={value!r}: this file is neither beside the DAG file, nor in the "
            "template_searchpath of the DAG. Correct the name."
        ) from None


def _has_template(text: str, env: jinja2.Environment) -> bool:
    """Whether a text holds a template. A DAG may choose the characters that begin one."""
    marks = (
        env.variable_start_string,
        env.block_start_string,
        env.comment_start_string,
        env.line_statement_prefix,
        env.line_comment_prefix,
    )
    return any(mark in text for mark in marks if mark)


def _kind_of(name: str) -> str:
    """Return ``text`` or ``texts`` for a parameter that is text in all models; else empty text."""
    return "text" if name in _TEXT_MEMBERS else text_parameters().get(name, "")
