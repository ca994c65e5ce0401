"""The report of an inspection as a page that opens offline: pictures lie beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from cracks.dataset.labels import CRACK

#: Photographs that are shown with pictures; the table names all of them.
SHOWN = 200

STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 20%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin-top: 3rem; font-size: 1.25rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; }
th, .label { white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.name { overflow-wrap: anywhere; min-width: 10rem; }
tr { border-bottom: 1px solid var(--line); }
.crack { font-weight: 700; }
.caution { border-left: .3rem solid #d55e00; padding: .2rem .8rem; }
img { max-width: 100%; height: auto; display: block; }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; padding: 0; }
figure { margin: 0; }
.tiles figure { width: 11rem; }
figcaption { font-size: .875rem; }
"""


def report_page(
    inspected: Sequence[Mapping[str, Any]], unreadable: Sequence[Mapping[str, str]], version: str
) -> str:
    """Return the page over inspected photographs, those with most cracks first.

    Args:
        inspected: what inspection.json says of each, with `overlay`, `tiles_csv`,
            `inspection_json` and the `picture` of each of its `worst_tiles`, relative to the page.
        unreadable: `file` and `reason` of the photographs that could not be inspected.
        version: of the model.
    """
    worst_first = sorted(inspected, key=lambda one: (-one["crack_share"], -one["score"]))
    cracked = sum(one["label"] == CRACK for one in inspected)
    photographs = "photograph" if len(inspected) == 1 else "photographs"
    title = f"Inspection of {len(inspected):,} {photographs}"
    parts = [
        f"<h1>{title}</h1>",
        f"<p>Cracks were found on {cracked:,} of them. Version {escape(version)} of the model "
        "looked at each photograph patch by patch; the score is its estimate of how probable a "
        "crack is. A photograph is called cracked if one patch is. Look at the patches before you "
        "decide anything.</p>",
        _caution(inspected),
        _table(worst_first),
        _unreadable(unreadable),
        *(_section(one, number) for number, one in enumerate(worst_first[:SHOWN], start=1)),
    ]
    if len(worst_first) > SHOWN:
        parts.append("<p>Pictures of the other photographs lie beside this page, in photos.</p>")
    body = "\n".join(filter(None, parts))
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n"
        f"<body>{body}</body></html>\n"
    )


def _caution(inspected: Iterable[Mapping[str, Any]]) -> str:
    novel = sum(bool(one["novel"]) for one in inspected)
    if not novel:
        return ""
    does, are = ("does", "is") if novel == 1 else ("do", "are")
    return (
        f'<p class="caution">{novel:,} of them {does} not look like the concrete that the model '
        f"was trained on, and {are} marked so below. Do not trust the model there.</p>"
    )


def _table(inspected: Sequence[Mapping[str, Any]]) -> str:
    with_scale = any(one["crack_area_cm2"] is not None for one in inspected)
    columns = ["Highest score", "Cracked area", *(["cm²"] if with_scale else []), "Places"]
    head = "".join(f'<th class="number">{column}</th>' for column in columns)
    rows = "".join(_row(one, number, with_scale) for number, one in enumerate(inspected, start=1))
    return (
        f'<div class="wide"><table><thead><tr><th>Photograph</th><th>Answer</th>{head}'
        f"<th>Looks familiar</th></tr></thead><tbody>\n{rows}</tbody></table></div>"
    )


def _row(one: Mapping[str, Any], number: int, with_scale: bool) -> str:
    name = escape(one["file"])
    target = f"#photo-{number}" if number <= SHOWN else _address(one["overlay"])
    numbers = [f"{one['score']:.3f}", f"{one['crack_share']:.1%}"]
    if with_scale:
        numbers.append("" if one["crack_area_cm2"] is None else f"{one['crack_area_cm2']:,.1f}")
    numbers.append(f"{len(one['regions']):,}")
    cells = "".join(f'<td class="number">{value}</td>' for value in numbers)
    return (
        f'<tr><td class="name"><a href="{target}">{name}</a></td>'
        f'<td class="label">{_label(one)}</td>{cells}<td>{_familiar(one)}</td></tr>\n'
    )


def _label(one: Mapping[str, Any]) -> str:
    label = escape(one["label"])
    return f'<span class="crack">{label}</span>' if one["label"] == CRACK else label


def _familiar(one: Mapping[str, Any]) -> str:
    if one["novel"] is None:
        return "not known"
    if one["novel"]:
        return f"no: {one['novel_share']:.0%} of it is unlike the training data"
    return "yes" if not one["novel_share"] else f"mostly ({one['novel_share']:.0%} is not)"


def _section(one: Mapping[str, Any], number: int) -> str:
    name, overlay = escape(one["file"]), _address(one["overlay"])
    tiles = "".join(_tile(tile) for tile in one["worst_tiles"])
    return (
        f'<h2 id="photo-{number}">{name}</h2>\n'
        f"<p>{_label(one)}, highest score {one['score']:.3f}. {_size(one)} "
        f'<a href="{_address(one["tiles_csv"])}">All patches as a table (CSV)</a>, '
        f'<a href="{_address(one["inspection_json"])}">everything as JSON</a>.</p>\n'
        f'<a href="{overlay}"><img src="{overlay}" loading="lazy" '
        f'alt="{name} with its heat map"></a>\n'
        f"<h3>The patches with the highest scores</h3>\n"
        f'<div class="tiles">{tiles}</div>\n'
    )


def _size(one: Mapping[str, Any]) -> str:
    said = f"{one['width']:,} × {one['height']:,} pixels"
    if one["mm_per_px"] is not None:
        width, height = (one[side] * one["mm_per_px"] / 1000 for side in ("width", "height"))
        said += f", {width:,.2f} × {height:,.2f} m"
    return f"{said}."


def _tile(tile: Mapping[str, Any]) -> str:
    place = f"{tile['x']:,} from the left, {tile['y']:,} from the top"
    novel = ", unlike the training data" if tile["novel"] else ""
    return (
        f'<figure><img src="{_address(tile["picture"])}" loading="lazy" alt="patch at {place}">'
        f"<figcaption>{tile['score']:.3f}{novel}<br>{place}</figcaption></figure>"
    )


def _unreadable(unreadable: Sequence[Mapping[str, str]]) -> str:
    if not unreadable:
        return ""
    rows = "".join(
        f'<tr><td class="name">{escape(one["file"])}</td><td>{escape(one["reason"])}</td></tr>\n'
        for one in unreadable
    )
    return (
        "<h2>Not inspected</h2>\n"
        '<div class="wide"><table><thead><tr><th>File</th><th>Reason</th></tr></thead>'
        f"<tbody>\n{rows}</tbody></table></div>"
    )


def _address(path: str) -> str:
    return escape(quote(path))
