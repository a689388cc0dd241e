"""The command ``estimate``: the price of a file of rows or a query, without a key."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from airflow_provider_flux.bfl.pricing import USD_PER_CREDIT
from airflow_provider_flux.cli.connections import use_database_connections
from airflow_provider_flux.cli.console import logs_on_stderr, print_rows, tell
from airflow_provider_flux.cli.exit_codes import INCOMPLETE, exit_on_error
from airflow_provider_flux.cli.progress import count_rows
from airflow_provider_flux.cli.row_options import read_row_options
from airflow_provider_flux.cli.task_ids import read_json_option

#: Rows that are not valid and are named.
_MAX_LISTED = 20


@dataclass
class _Cost:
    """Cost of the rows of one model."""

    rows: int = 0
    credits: float = 0.0
    unpriced: int = 0
    invalid: int = 0

    def as_row(self, model: str) -> dict[str, Any]:
        return {
            "model": model,
            "rows": self.rows,
            "credits": round(self.credits, 4),
            "usd": round(self.credits * USD_PER_CREDIT, 4),
            "unpriced": self.unpriced,
            "invalid": self.invalid,
        }


def run(args: argparse.Namespace) -> None:
    """Print the expected cost of the rows of each model, and of all.

    :param args: the parsed options of the command.
    :raises SystemExit: with 1 if a row is not valid; with 2 if file or database cannot be read.
    """
    from airflow_provider_flux.batch.input.mapping import InputMapping
    from airflow_provider_flux.batch.input.rows import describe_problems, read_rows

    use_database_connections()  # the file may be in a bucket
    invalid: list[Any] = []
    with logs_on_stderr(is_verbose=args.verbose), exit_on_error("estimate"):
        options = read_row_options(args)
        mapping = InputMapping(
            columns=read_json_option("--columns", args.columns),
            defaults=read_json_option("--defaults", args.defaults) or {},
            model=args.model,
            column_names=options.arguments.get("column_names"),
            prompt=args.prompt,
            keep_columns=args.keep_columns,
            matrix=read_json_option("--matrix", args.matrix),
            seed=args.seed,
        )
        rows = count_rows(read_rows(options.source, mapping))
        costs = _sum_up(rows, invalid)
    total = _Cost()
    for cost in costs.values():
        total.rows += cost.rows
        total.credits += cost.credits
        total.unpriced += cost.unpriced
        total.invalid += cost.invalid
    by_model = sorted(costs.items(), key=lambda item: -item[1].credits)
    print_rows(
        [*(cost.as_row(model) for model, cost in by_model), total.as_row("all")], args.output
    )
    if total.unpriced:
        tell(f"The price of {total.unpriced} rows is known only after their result.")
    if total.invalid:
        tell(describe_problems(invalid))
        more = total.invalid - len(invalid)
        if more:
            tell(f"... and {more} more rows that are not valid")
        raise SystemExit(INCOMPLETE)


def _sum_up(rows: Iterable[Any], invalid: list[Any]) -> dict[str, _Cost]:
    """Return the cost by model, and collect the first rows that are not valid."""
    from airflow_provider_flux.bfl.request import estimate_cost

    costs: dict[str, _Cost] = {}
    for row in rows:
        cost = costs.setdefault(row.model, _Cost())
        cost.rows += 1
        if row.request is None:
            cost.invalid += 1
            if len(invalid) < _MAX_LISTED:
                invalid.append(row)
            continue
        credits_ = estimate_cost(row.request).credits
        cost.credits += credits_ or 0.0
        cost.unpriced += credits_ is None
    return costs
