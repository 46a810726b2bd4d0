"""The verbs below `matterloop bench`: each runs a comparison of the package against a peer or against time and prints what it measured."""

from __future__ import annotations

import typer

bench_app = typer.Typer(help="Measure: speed, cost and accuracy, with what they were measured on.", no_args_is_help=True)
