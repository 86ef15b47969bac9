"""A loaded bundle as a small web application: questions in JSON, answers in JSON. Knows HTTP; of tasks and models, only their bundle.

    POST /predict   {"rows": [{column: value, ...}, ...], "k": 5}  ->  {"predictions": [{"prediction": ..., ...}, ...]}
    POST /predict   the bytes of a file, its Content-Type image/*, audio/* or application/octet-stream: the only column of the only row
    GET  /health    what is served, which columns a row must have, what else may be asked
    GET  /          how to ask, with an example

A row must have every column of the model; where a value is not known, it is null. Other columns are ignored, so a record may be sent as
it is. What stands beside `rows` is the task's own question (`k`, `horizon`); where that says enough, `rows` may be left out.
What `luban predict` would say aloud (users that were not in training, columns that are ignored) stands beside the answers, in `said`.
What cannot be answered is {"error": sentence}: 400 for what is not JSON, 413 for too much of it, 422 for what the model cannot read.
"""

from __future__ import annotations

import asyncio
import json
import math
import shlex
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, time
from importlib import metadata
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from luban.bundle import Bundle
from luban.core import cells
from luban.core import config as configs
from luban.core.contract import Table
from luban.core.errors import UserError, did_you_mean, listed
from luban.core.notes import recorded

FILES = ("image/", "audio/", "application/octet-stream")
"""What is uploaded as it is, not as JSON."""
LIMIT = 64 * 2**20
"""Bytes of a request's body, some 100,000 rows of 50 columns. What is larger is a file, and `luban predict` is for files."""


def application(bundle: Bundle) -> Starlette:
    """The application that answers for `bundle`, one question at a time."""
    about = {
        "status": "ok",
        "task": bundle.info["task"]["name"],
        "model": bundle.info["model"]["name"],
        "luban": metadata.version("luban"),
        "columns": list(bundle.columns),
        "ask": configs.to_dict(bundle.asked({})),
    }
    # one thread for all predictions: torch would start a pool of its own for each new one, and /health is answered meanwhile
    worker = ThreadPoolExecutor(1, thread_name_prefix="predict")

    async def predict(request: Request) -> Response:
        body, kind = await _body(request), request.headers.get("content-type", "")
        if kind.startswith("multipart/"):
            raise HTTPException(415, "forms are not read: send the file itself. With curl: --data-binary @FILE instead of -F.")
        answer = _reply_to_file if kind.startswith(FILES) else _reply
        reply = await asyncio.get_running_loop().run_in_executor(worker, answer, bundle, body)
        return Response(reply, media_type="application/json")

    async def health(request: Request) -> Response:
        return JSONResponse(about)

    async def index(request: Request) -> Response:
        return PlainTextResponse(_usage(bundle, str(request.base_url).rstrip("/")))

    routes = [Route("/predict", predict, methods=["POST"]), Route("/health", health), Route("/", index)]
    app = Starlette(
        routes=routes, exception_handlers={HTTPException: _refusal, UserError: _unanswerable, ClientDisconnect: _gone, Exception: _ours}
    )
    app.router.redirect_slashes = False
    return app


# ---------------------------------------------------------------- a question


async def _body(request: Request) -> bytes:
    """The body, read to its end even where it is too large: a client that is still sending would miss the answer."""
    size, pieces = 0, []
    async for piece in request.stream():
        size += len(piece)
        if size <= LIMIT:
            pieces.append(piece)
    if size > LIMIT:
        raise HTTPException(413, f"the body has {size:,} bytes, and at most {LIMIT:,} are read at once. Send the rows in several requests.")
    return b"".join(pieces)


def _reply_to_file(bundle: Bundle, body: bytes) -> bytes:
    """An answer, as JSON, to an uploaded file."""
    if not body:
        raise HTTPException(400, "the body is empty. With curl: --data-binary @FILE.")
    if _is_text(body):
        raise HTTPException(400, "the body is text, not a file of this kind. A question in JSON goes with Content-Type: application/json.")
    if len(bundle.columns) != 1:
        raise UserError(
            f'a file alone is not enough: this model reads {listed(bundle.columns)}. Send {{"rows": [...]}}, the file as base64.'
        )
    return _answered(bundle, [{bundle.columns[0]: body}], {})


def _is_text(body: bytes) -> bool:
    try:
        return b"\0" not in body and bool(body.decode())
    except UnicodeDecodeError:
        return False


def _reply(bundle: Bundle, body: bytes) -> bytes:
    """An answer to the body of a question, both JSON; to bytes that are no text as to a file, where a file is all that is asked."""
    if len(bundle.columns) == 1 and body and not _is_text(body):
        return _reply_to_file(bundle, body)
    question = _parsed(body)
    known = ["rows", *configs.to_dict(bundle.asked({}))]
    for key in question.keys() - known:
        raise UserError(f"this model cannot be asked {key!r}.{did_you_mean(key, known)} It takes {listed(known)}.")
    rows = _rows(question.pop("rows"), bundle.columns) if "rows" in question else None
    return _answered(bundle, rows, question)


def _answered(bundle: Bundle, rows: list[dict[str, Any]] | None, ask: dict[str, Any]) -> bytes:
    asked = bundle.asked(ask)
    _refuse_none_or_both(bundle, rows, asked)
    with cells.without_files(), recorded() as said:  # a cell that names a file of this machine must not open it
        reply: dict[str, Any] = {"predictions": jsonable(bundle.answer(rows, asked))}
    if said:
        reply["said"] = [words for _, words in said]
    return json.dumps(reply, ensure_ascii=False, allow_nan=False).encode()


def _refuse_none_or_both(bundle: Bundle, rows: list[dict[str, Any]] | None, asked: Any) -> None:
    """What the task and the bundle refuse too, but in words for a body, which has no files and no options."""
    instead = bundle.task.instead
    if rows is None:
        try:
            bundle.task.question(asked)
        except UserError:
            if any(getattr(asked, name) is not None for name in instead):  # the task says what is wrong with it
                raise
            other = "".join(f', or {{"{name}": ...}}' for name in instead)
            raise UserError(f'this model answers rows, and the body has none: send {{"rows": [{{...}}]}}{other}.') from None
    elif both := [name for name in instead if getattr(asked, name) is not None]:
        raise UserError(f"the body says twice what is asked, by rows and by {both[0]}. Send one of them.")


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        text = body.decode("utf-8-sig")
        question = json.loads(text, parse_int=_whole, parse_constant=_no_number)
        if "\\u" in text:
            json.dumps(question, ensure_ascii=False).encode()  # half a surrogate pair, such as "\ud83d" alone, is no text
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body is not JSON in UTF-8: {error}.") from error
    if not isinstance(question, dict):
        raise UserError(f'the body must be an object such as {{"rows": [{{...}}]}}, not {_short(question)}.')
    return question


def _whole(digits: str) -> int | float:
    """Beyond 38 digits, which is what a column of whole numbers holds, a float."""
    return int(digits) if len(digits) <= 38 else float(digits)


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number in JSON; write null where there is none")


def _rows(rows: Any, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows, each with all of the model's columns; what else they hold is for the bundle to ignore."""
    if not isinstance(rows, list):
        raise UserError(f"rows must be a list of objects, one a row, not {_short(rows)}.")
    if not rows:
        raise UserError("rows is empty. Give at least one row.")
    return [_row(row, number, columns) for number, row in enumerate(rows, 1)]


def _row(row: Any, number: int, columns: Sequence[str]) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise UserError(f'row {number} must be an object such as {{"column": 1}}, not {_short(row)}.')
    for name in columns:
        if name not in row:
            raise UserError(f"row {number} has no {name!r}.{did_you_mean(name, row)} Write null where the value is not known.")
    return {name: _cell(value) for name, value in row.items()}


def _cell(value: Any) -> Any:
    """Lists and objects as their JSON text, which is how a file of JSON lines is read too: whoever trained on such may ask in it."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


# ---------------------------------------------------------------- an answer


def jsonable(table: Table) -> list[dict[str, Any]]:
    """A record a row: what JSON has no word for is null (NaN, an infinity) or text (a date, in ISO 8601)."""
    return [_plain(row) for row in table.to_dicts()]


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, (date, time)):
        return value.isoformat()
    return value


def golden_question(bundle: Bundle, most: int | None = None) -> dict[str, Any]:
    """What the bundle was asked when it was saved, as a body for POST /predict; of its rows, the first `most`."""
    rows = bundle.golden.get("rows")
    return {**({"rows": rows[:most]} if rows else {}), **bundle.golden.get("ask", {})}


def example(bundle: Bundle, url: str) -> str:
    """A command that asks the server at `url`."""
    question = bundle.task.example(bundle.schema) or golden_question(bundle, 1)
    phrases = {each.columns[0]: said for each in bundle.schema.inputs.values() if (said := each.phrase()) is not None}
    if "rows" in question:
        question = {**question, "rows": [{**row, **phrases} for row in question["rows"]]}
    if [each.kind for each in bundle.schema.inputs.values()] == ["grid"]:
        return f"curl {url}/predict --data-binary @FILE"
    asked = json.dumps(question, ensure_ascii=False)
    if "rows" in question and not bundle.task.rowwise:  # one alone is no question
        asked = asked.replace("}]", "}, ...]")
    return f"curl {url}/predict -d {shlex.quote(asked)}"


def _usage(bundle: Bundle, url: str) -> str:
    return (
        'POST /predict   {"rows": [{column: value, ...}, ...]}  ->  {"predictions": [{"prediction": ..., ...}, ...]}\n'
        "GET  /health    what is served, which columns a row must have, what may be asked beside the rows\n\n"
        f"{example(bundle, url)}\n"
    )


# ---------------------------------------------------------------- what goes wrong


def _refusal(request: Request, error: Any) -> Response:
    sentences = {
        404: f"there is no {request.url.path} here. POST /predict answers questions, GET /health says what is served.",
        405: f"{request.url.path} takes {(error.headers or {}).get('Allow')}, not {request.method}.",
    }
    return JSONResponse({"error": sentences.get(error.status_code, error.detail)}, error.status_code, error.headers)


def _unanswerable(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": " ".join(str(error).split())}, 422)


def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody is there to read it


def _ours(request: Request, error: Exception) -> Response:
    """Starlette raises the error again after this answer, and uvicorn prints its traceback."""
    return JSONResponse({"error": "internal error"}, 500)
