"""From which probability on a row is called positive: what each threshold costs, where a false alarm and a miss cost what the user says.

The page shows it for the costs of the configuration; where scripts run, the costs and the threshold can be moved.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from luban.report import plots
from luban.report.words import Words

SCRIPT = """document.querySelectorAll('.chooser').forEach(box=>{const d=JSON.parse(box.querySelector('script').textContent),
q=k=>box.querySelector(k),form=q('.inputs'),fp=q('.fp'),fn=q('.fn'),at=q('.at'),line=q('.line'),mark=q('.mark');
form.hidden=false;q('svg.live').style.display='block';const still=q('.still');if(still)still.hidden=true;
const num=x=>x.toLocaleString(undefined,{maximumFractionDigits:2});
function draw(best){const a=Math.max(0,+fp.value||0),b=Math.max(0,+fn.value||0),c=d.tp.map((tp,i)=>a*d.fp[i]+b*(d.positives-tp)),
top=Math.max(...c,1e-9);let low=d.threshold.indexOf(.5);c.forEach((v,i)=>{if(v<c[low])low=i});if(best)at.value=low;const i=+at.value;
line.setAttribute('points',d.threshold.map((t,j)=>`${60+t*520},${150-c[j]/top*140}`).join(' '));
mark.setAttribute('x1',60+d.threshold[i]*520);mark.setAttribute('x2',60+d.threshold[i]*520);
[d.threshold[i],d.tp[i],d.fp[i],d.positives-d.tp[i],d.negatives-d.fp[i],num(c[i])].forEach((v,j)=>{
q('.out'+j).textContent=typeof v=='number'&&j?num(v):v});q('.low').textContent=d.threshold[low];q('.top').textContent=num(top)}
fp.oninput=fn.oninput=()=>draw(true);at.oninput=()=>draw(false);draw(true)})"""


def best(of: Mapping[str, Any], costs: Sequence[float]) -> int:
    """The number of the cheapest threshold; the usual one, where none is cheaper, else of equals the first. costs: of a false positive, of
    a false negative."""
    total, usual = _costs(of, costs), of["threshold"].index(0.5)
    return usual if total[usual] == min(total) else total.index(min(total))


def _costs(of: Mapping[str, Any], costs: Sequence[float]) -> list[float]:
    return [costs[0] * fp + costs[1] * (of["positives"] - tp) for tp, fp in zip(of["tp"], of["fp"], strict=True)]


def chooser(of: Mapping[str, Any], costs: Sequence[float], t: Words) -> str:
    """HTML: a table of telling thresholds for these costs, the curve of the cost, and inputs where scripts run."""
    words = {key: of[key] for key in ("positive", "negative")}

    def say(english: str) -> str:
        return html.escape(t(english).format(**words))

    theory = costs[0] / (costs[0] + costs[1]) if sum(costs) else 0.5
    near = min(range(len(of["threshold"])), key=lambda i: abs(of["threshold"][i] - theory))
    cheapest = best(of, costs)
    telling = {"the cheapest here": cheapest, "by theory, where probabilities are right": near, "the usual one": of["threshold"].index(0.5)}
    lines = [(name, f"{of['threshold'][i]:g}", of["tp"][i], of["fp"][i]) for name, i in telling.items()]
    lines += [("everything {positive}", "", of["positives"], of["negatives"]), ("everything {negative}", "", 0, 0)]
    head = ["", "threshold", "right {positive}", "false {positive}", "missed {positive}", "right {negative}", "cost", "cost a row"]
    rows = ""
    for name, shown, tp, fp in lines:
        missed, right, cost = of["positives"] - tp, of["negatives"] - fp, costs[0] * fp + costs[1] * (of["positives"] - tp)
        each = cost / (of["positives"] + of["negatives"])
        cells = (say(name), shown, f"{tp:,}", f"{fp:,}", f"{missed:,}", f"{right:,}", f"{cost:,.6g}", f"{each:.4f}")
        rows += f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    drawn = {"x": "threshold", "y": "cost", "lines": {"": [of["threshold"], _costs(of, costs)]}, "marks": [of["threshold"][cheapest]]}
    data = json.dumps({key: of[key] for key in ("threshold", "tp", "fp", "positives", "negatives")})  # numbers only: nothing to escape
    note = say(
        "The cheapest threshold was found on these very rows, so that new rows will cost a little more. "
        "It is applied to the column p_{positive} of the predictions."
    )
    about = t(
        "A row is called {positive} where its probability reaches the threshold. Here a false {positive} costs {fp}, a missed one {fn}; "
        "where they cost something else, train with --set report.costs=[1,5]."
    ).format(**words, fp=f"{costs[0]:g}", fn=f"{costs[1]:g}")
    return (
        f"<p>{html.escape(about)}</p>"
        f"<div class=scroll><table><tr>{''.join(f'<th>{say(each)}</th>' for each in head)}</tr>{rows}</table></div>"
        f"<div class=chooser><script type='application/json'>{data}</script><div class=still>{plots.svg(drawn, t, 6.2, 2.4)}</div>"
        f"{_live(of, costs, say)}</div><p class=faint>{note}</p>"
    )


def _live(of: Mapping[str, Any], costs: Sequence[float], say: Any) -> str:
    inputs = "".join(
        f"<label>{say(name)} <input class={key} type=number min=0 step=any value={value:g}></label> "
        for name, key, value in (
            ("cost of a false {positive}", "fp", costs[0]),
            ("cost of a missed {positive}", "fn", costs[1]),
        )
    )
    names = ("threshold", "right {positive}", "false {positive}", "missed {positive}", "right {negative}", "cost")
    out = "".join(f"<td>{say(name)}<br><b class=out{j}></b></td>" for j, name in enumerate(names))
    return (
        f"<div class=inputs hidden>{inputs}"
        f"<label>{say('threshold')} <input class=at type=range min=0 max={len(of['threshold']) - 1}></label> "
        f"{say('the cheapest here')}: <b class=low></b><table><tr>{out}</tr></table></div>"
        '<svg class=live style="display:none" viewBox="0 0 600 185"><path d="M60 10V150H580" fill="none" stroke="#888"/>'
        '<polyline class=line fill="none" stroke="#4477aa" stroke-width="2"/>'
        '<line class=mark y1="10" y2="150" stroke="#cc6677" stroke-dasharray="4"/>'
        '<text class=top x="4" y="14" font-size="11"></text><text x="60" y="165" font-size="11">0</text>'
        '<text x="570" y="165" font-size="11">1</text>'
        f'<text x="320" y="180" font-size="11" text-anchor="middle">{say("threshold")}</text>'
        f'<text x="50" y="85" font-size="11" text-anchor="middle" transform="rotate(-90 50 85)">{say("cost")}</text></svg>'
    )
