"""report.html: what came of a run, on one page that opens anywhere without a network. It sees the report and some examples, nothing else.

Words of the user's are escaped; pictures are inside the page, as PNG.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

STYLE = """body{font:15px/1.5 system-ui,"PingFang SC","Microsoft YaHei","Noto Sans CJK SC",sans-serif;max-width:60rem;margin:2rem auto;
padding:0 1rem;color:#222}h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse}
td,th{padding:.2rem .6rem;text-align:right;vertical-align:middle}
th:first-child,td:first-child{text-align:left}tr{border-bottom:1px solid #eee}
img{image-rendering:pixelated;min-width:56px;max-width:100%}.verdict{background:#f4f7fb;padding:.6rem 1rem;border-left:4px solid #4477aa}
.heat td{text-align:center;min-width:2rem}.heat th{font-weight:normal;max-width:8rem;overflow:hidden;text-overflow:ellipsis}
.scroll{overflow-x:auto}.faint{color:#777}@media print{h2{break-after:avoid}}"""
MOST_CLASSES = 40


def page(report: Mapping[str, Any], figures: Mapping[str, str]) -> str:
    """The page. figures: {title: HTML}, each below the metrics, in their order."""
    title = html.escape(f"{report['model']}: {report['metric']} {report['metrics'].get(report['metric'], float('nan')):.4f}")
    metric = report["metric"]
    compared = {report["model"]: report["metrics"], **report["baselines"]}
    rows = [[html.escape(key), *(_number(values.get(key)) for values in compared.values())] for key in report["metrics"]]
    confusion = report["details"].get("confusion")
    if confusion and len(confusion) <= MOST_CLASSES:
        figures = {"Confusion: rows are the truth, columns the answer": heat(report["details"]["classes"], confusion), **figures}
    plan = [[key, html.escape(str(why))] for key, why in report["plan"].items()]
    columns = [[html.escape(each["column"]), each["field"], html.escape(each["facts"]), html.escape(each["doubts"])]
               for each in report["columns"][:200]]  # fmt: skip
    sections = {
        f"Metrics on the {report['scored']} part, by {metric}": table(["", *compared], rows),
        **figures,
        "Columns": table(["column", "field", "", ""], columns),
        "Why so": table(["setting", "reason"], plan),
        "Machine": table(["", ""], [[key, html.escape(str(value))] for key, value in report["machine"].items()]),
    }
    body = "".join(f"<h2>{html.escape(name)}</h2><div class=scroll>{inner}</div>" for name, inner in sections.items())
    facts = f"{report['split']} rows, {report['data']['split']}; {report['parameters']:,} parameters, {report['seconds']:.0f} s"
    return (
        f'<!doctype html><html><head><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>'
        f"<p class=verdict>{html.escape(report['verdict'])}</p><p class=faint>{html.escape(facts)}</p>{body}</body></html>\n"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML already, the head is not."""
    top = "".join(f"<th>{html.escape(each)}</th>" for each in head)
    return f"<table><tr>{top}</tr>" + "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows) + "</table>"


def heat(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """A confusion matrix, each row shaded by its shares."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    rows = ""
    for name, row in zip(names, counts, strict=True):
        cells = "".join(f'<td style="background:rgba(68,119,170,{each / max(1, sum(row)):.3f})">{each or ""}</td>' for each in row)
        rows += f"<tr><td>{html.escape(name)}</td>{cells}</tr>"
    return f"<table class=heat><tr><th></th>{head}</tr>{rows}</table>"


def sheet(pictures: Tensor, across: int = 8, side: int = 64) -> str:
    """Pictures, uint8 (n, C, h, w), side by side in one; small ones are enlarged, by whole factors."""
    n, C, h, w = pictures.shape
    scale = max(1, side // max(h, w))
    rows = -(-n // across)
    canvas = np.full((rows * (h * scale + 2), min(n, across) * (w * scale + 2), 3), 255, np.uint8)
    for i, each in enumerate(pictures.numpy()):
        shown = np.kron(np.broadcast_to(each, (3, h, w)) if C == 1 else each[:3], np.ones((1, scale, scale), np.uint8))
        top, left = i // across * (h * scale + 2), i % across * (w * scale + 2)
        canvas[top : top + h * scale, left : left + w * scale] = shown.transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(canvas).save(file, "PNG")
    return f'<img src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
