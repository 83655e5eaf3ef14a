"""How commands print: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime

import click
from pydantic import BaseModel
from rich import box
from rich.console import Console
from rich.table import Table

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def print_rows(rows: Sequence[BaseModel], *, columns: Sequence[str], as_json: bool) -> None:
    """Print many things, one per line or as a JSON array."""
    if as_json:
        click.echo(json.dumps([row.model_dump(mode="json") for row in rows], indent=2))
        return
    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(getattr(row, column)) for column in columns))
    # Ids must come out whole, to be copied or piped: a narrow terminal wraps the line instead.
    Console(width=Console(width=10_000).measure(table).maximum).print(table)


def print_one(row: BaseModel, *, as_json: bool) -> None:
    """Print one thing, a field per line or as a JSON object."""
    if as_json:
        click.echo(row.model_dump_json(indent=2))
        return
    for name in type(row).model_fields:
        click.echo(f"{name:>14}  {_cell(getattr(row, name))}")


def print_report(report: object, *, as_json: bool) -> bool:
    """Print a report, which is a dataclass, as a JSON object if that is wanted; whether it was."""
    if as_json:
        assert is_dataclass(report)
        assert not isinstance(report, type)
        click.echo(json.dumps(asdict(report), indent=2, default=str))
    return as_json


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return str(value)
