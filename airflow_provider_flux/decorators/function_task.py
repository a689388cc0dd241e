"""A task around a function: its call, its arguments, and its type for type checkers."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, Awaitable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from airflow.providers.common.compat.sdk import BaseOperator, DecoratedOperator

from airflow_provider_flux.compat import determine_kwargs, function_arguments_in_source
from airflow_provider_flux.operators.templates import TextTemplatesOperator

if TYPE_CHECKING:
    import jinja2
    from airflow.providers.common.compat.sdk import Context, XComArg


class FunctionTask(Protocol):
    """Type of a decorated function. A call of it makes a task of the DAG.

    Arguments may be values, templates and outputs of other tasks, so their types are not checked.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> XComArg:
        """Make the task.

        :param args: positional arguments of the function.
        :param kwargs: keyword arguments of the function.
        :return: the output of the task.
        """
        ...

    def partial(self, **kwargs: Any) -> FunctionTask:
        """Set arguments of the function that are the same for all map indexes.

        :param kwargs: arguments of the function.
        """
        ...

    def expand(self, **kwargs: Any) -> XComArg:
        """Make a mapped task, with one map index for each value.

        :param kwargs: lists, or outputs of other tasks, by the arguments of the function.
        :return: the outputs of the task.
        """
        ...

    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> XComArg:
        """Make a mapped task, with one map index for each dict of arguments.

        :param kwargs: list of dicts, or the output of another task.
        :param strict: refuse arguments that ``partial()`` has set. Default ``True``.
        :return: the outputs of the task.
        """
        ...

    def override(self, **kwargs: Any) -> FunctionTask:
        """Return the decorated function with other arguments of the decorator.

        :param kwargs: arguments of the decorator, for example ``task_id``.
        """
        ...


class FunctionOperator(DecoratedOperator, TextTemplatesOperator):
    """Base class of operators that call a function and use what it returns as data.

    The arguments of the function are rendered as Airflow renders those of any decorated function.
    What it returns is never rendered.
    """

    _renders_function_arguments = False

    @staticmethod
    def xcom_push(context: Context, key: str, value: Any) -> None:
        """Push an XCom. The decorators of Airflow 3.0 expect the method, which operators lack.

        :param context: context of the task.
        :param key: key of the XCom.
        :param value: its value.
        """
        context["ti"].xcom_push(key=key, value=value)

    def call_function(self, context: Context) -> Any:
        """Call the function with its arguments, and with those parts of the context that it names.

        :param context: context of the task.
        :return: the value that the function returned. A coroutine is awaited.
        """
        known = {**context, **self.op_kwargs}
        arguments = determine_kwargs(self.python_callable, self.op_args, known)
        value = self.python_callable(*self.op_args, **arguments)
        return asyncio.run(_wait_for(value)) if inspect.isawaitable(value) else value

    @property
    def function_name(self) -> str:
        """The name of the function, for messages."""
        return getattr(self.python_callable, "__name__", type(self.python_callable).__name__)

    def render_template(
        self,
        content: Any,
        context: Context,
        jinja_env: jinja2.Environment | None = None,
        seen_oids: set[int] | None = None,
    ) -> Any:
        """Render a value: arguments of the function as Airflow does, others as the operator does.

        :param content: value of a template field, or a part of it.
        :param context: context of the task.
        :param jinja_env: environment of the DAG. By default it is created.
        :param seen_oids: ids of objects that must not be rendered.
        """
        seen = set() if seen_oids is None else seen_oids
        if self._renders_function_arguments:
            return BaseOperator.render_template(self, content, context, jinja_env, seen)
        if content is not self.op_args and content is not self.op_kwargs:
            return super().render_template(content, context, jinja_env, seen)
        if content is self.op_kwargs:
            in_source = function_arguments_in_source(self, context)
            seen |= {
                id(value)
                for name, value in self.op_kwargs.items()
                if in_source is not None and name not in in_source
            }
        with self._rendering_function_arguments():
            return BaseOperator.render_template(self, content, context, jinja_env, seen)

    @contextmanager
    def _rendering_function_arguments(self) -> Iterator[None]:
        """Render as Airflow does, which calls :meth:`render_template` again for each part."""
        self._renders_function_arguments = True
        try:
            yield
        finally:
            self._renders_function_arguments = False


def iterate_async(rows: AsyncIterable[Any]) -> Iterator[Any]:
    """Yield the items of an asynchronous generator, on an event loop of its own.

    :param rows: the generator.
    """
    iterator = aiter(rows)

    async def read_next() -> tuple[bool, Any]:
        try:
            return True, await anext(iterator)
        except StopAsyncIteration:
            return False, None

    with asyncio.Runner() as runner:
        while True:
            has_row, row = runner.run(read_next())
            if not has_row:
                return
            yield row


async def _wait_for(value: Awaitable[Any]) -> Any:
    return await value
