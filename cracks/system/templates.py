"""Fill in the Jinja2 templates of pages and cards; each lies beside the module that uses it.

Besides what Jinja2 offers, a template may say `{{ count|number(",") }}`, which writes a number as
Python's `format` does, and `{{ text|cell }}`, which keeps any text in one cell of a Markdown table.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

#: What the loops and conditions of a template leave behind.
EMPTY_LINES = re.compile(r"\n{3,}")


def render(template: str, **values: object) -> str:
    """Return a template filled in, without empty lines at its ends or two of them in a row.

    Args:
        template: its path, as "cracks/system/page.html.jinja". In `*.html.jinja` values are
            escaped, in others (Markdown) they are not.
        values: what it needs.

    Raises:
        jinja2.UndefinedError: it uses a value that is not given.
    """
    text = _environment().get_template(template).render(values)
    return EMPTY_LINES.sub("\n\n", text).strip("\n")


@cache
def _environment() -> Environment:
    # Loaded here, so that a command that renders nothing does not wait for it.
    from jinja2 import Environment, FunctionLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=select_autoescape(["html.jinja"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "cell": _cell}
    return environment


def _source(template: str) -> str:
    package, _, file = template.rpartition("/")
    return files(package.replace("/", ".")).joinpath(file).read_text(encoding="utf-8")


def _number(value: float | str | None, spec: str) -> str:
    """Write a number, or a text that is one, as `format` does; what is not known stays empty."""
    if value is None or value == "":
        return ""
    return format(float(value) if isinstance(value, str) else value, spec)


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")
