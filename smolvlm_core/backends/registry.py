"""Backends that a user has added: pairs of GGUF files and servers by address, kept in the data folder.

Models for transformers are the catalogue's and need no adding. Makes backends; does not run them.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from smolvlm_core.backends.base import Backend
from smolvlm_core.backends.llama_cpp import LlamaCppBackend, LlamaServerBackend, server_properties
from smolvlm_core.backends.remote.ollama import DEFAULT_URL, OllamaBackend
from smolvlm_core.backends.remote.openai import DEFAULT_CONTEXT, OpenAIBackend, normal_url
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.errors import BackendError, LensError, StoreError
from smolvlm_core.llamacpp.gguf import find_projector, read_gguf, spec_of
from smolvlm_core.llamacpp.server import ServerOptions, check_files
from smolvlm_core.models import catalog
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.models.load import Dtype
from smolvlm_core.paths import data_folder

Kind = Literal["gguf", "url", "ollama"]
_changing = threading.Lock()  # the list is read, changed and written by several threads


@dataclass(frozen=True)
class Added:
    """`model` belongs to an address or to Ollama, `api_key` to an address; the files and what follows them to a pair of GGUF files."""

    key: str
    title: str
    kind: Kind
    text: str = ""
    projector: str = ""
    context_tokens: int = 0
    gpu_layers: int | None = None
    threads: int | None = None
    url: str = ""
    model: str = ""
    api_key: str = ""
    is_llama_server: bool = False


@dataclass(frozen=True)
class Choice:
    """A backend and what it costs; `note` says what a user should know of it."""

    spec: ModelSpec
    backend: Backend
    note: str = ""


def added() -> tuple[Added, ...]:
    """Raises StoreError where the file cannot be read; it is left as it is."""
    path = _file()
    try:
        return tuple(Added(**entry) for entry in json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"{path} cannot be read: {error}.", "Mend or remove that file.") from error


def remember(entry: Added) -> Added:
    """Keep an entry. One with the same key, or of the same text model, is replaced, and its server stopped."""
    with _changing:
        known = added()
        same = [e for e in known if e.key == entry.key or (e.kind == "gguf" and e.text == entry.text)]
        _write([*(e for e in known if e not in same), entry])
    for old in same:
        if old != entry and old.kind == "gguf":
            _stop(old)
    return entry


def _stop(entry: Added) -> None:
    try:
        backend = of_entry(entry).backend
    except LensError:
        return  # its files are gone, so it has no server
    backend.close()


def forget(key: str) -> None:
    with _changing:
        _write([e for e in added() if e.key != key])


def gguf_entry(
    text: Path,
    projector: Path | None = None,
    *,
    context_tokens: int = 0,
    gpu_layers: int | None = None,
    threads: int | None = None,
) -> Added:
    """Of a text model's file and its projector: the one given, or a fitting one beside it.

    Raises:
        LensError: a file is missing, damaged, of the wrong kind, or the two do not fit.
    """
    check_files(text, projector)
    text = text.expanduser().resolve()
    eyes = projector.expanduser().resolve() if projector else find_projector(read_gguf(text))
    return Added(
        f"gguf:{text} {eyes.name if eyes else ''}".strip(),
        text.name.removesuffix(".gguf"),
        "gguf",
        str(text),
        str(eyes or ""),
        context_tokens,
        gpu_layers,
        threads,
    )


def url_entry(url: str, model: str = "", api_key: str = "") -> Added:
    """Of a server's address; the server is asked what it is. Raises BackendError."""
    whole = normal_url(url)
    try:
        is_llama_server = bool(server_properties(whole.removesuffix("/v1"), api_key).get("media_marker"))
    except BackendError:
        is_llama_server = False
    context = OpenAIBackend(whole, model, api_key).capabilities().context_tokens  # what is wrong is told now
    title = f"{model or ('llama-server' if is_llama_server else 'server')} at {whole.split('//', 1)[1]}"
    key = f"url:{whole} {model}".strip()
    return Added(
        key,
        title,
        "url",
        context_tokens=context,
        url=whole,
        model=model,
        api_key=api_key,
        is_llama_server=is_llama_server,
    )


def ollama_entry(model: str, url: str = DEFAULT_URL) -> Added:
    """Of a model that Ollama has; it is asked what it is. Raises BackendError."""
    backend = OllamaBackend(model, url)
    context = backend.capabilities().context_tokens
    return Added(f"ollama:{model} {url}", backend.name, "ollama", context_tokens=context, url=url, model=model)


def choose(key: str, dtype: Dtype = "bfloat16") -> Choice:
    """The backend of a key: an added one, a model of the catalogue, a checkpoint folder, a .gguf file or an address.

    Raises:
        LensError: there is none, or its files are gone.
    """
    known = next((s for s in catalog.models() if key.lower() in (s.key.lower(), s.repo_id.lower())), None)
    if known is not None:  # does not need the list, which may be unreadable
        return Choice(known, TransformersBackend(known, dtype), known.note)
    for entry in added():
        if key in (entry.key, entry.title):
            return of_entry(entry)
    if key.endswith(".gguf"):
        return of_entry(gguf_entry(Path(key)))
    if key.startswith("ollama:"):
        return of_entry(ollama_entry(key.removeprefix("ollama:")))
    if key.startswith(("http://", "https://")):
        return of_entry(url_entry(key))
    spec = catalog.find(key)
    return Choice(spec, TransformersBackend(spec, dtype), spec.note)


def of_entry(entry: Added) -> Choice:
    return _of_gguf(entry) if entry.kind == "gguf" else _of_url(entry)


def _of_gguf(entry: Added) -> Choice:
    text = read_gguf(Path(entry.text))
    projector = read_gguf(Path(entry.projector)) if entry.projector else None
    spec = replace(spec_of(text, projector), key=entry.key)
    context = min(entry.context_tokens or spec.context_tokens, spec.context_tokens)
    options = ServerOptions(text.path, projector.path if projector else None, context, entry.gpu_layers, entry.threads)
    note = "" if projector else "No projector: this is the text model alone. It sees nothing."
    return Choice(replace(spec, context_tokens=context), LlamaCppBackend(spec, options), note)


def _of_url(entry: Added) -> Choice:
    """Ollama's too. A server does not tell how it cuts pictures: the sizes of a published model of that name are taken, and the
    figures are estimates."""
    like = next((s for s in catalog.PUBLISHED if s.key.lower() in entry.model.lower()), catalog.PUBLISHED[1])
    context = entry.context_tokens or DEFAULT_CONTEXT
    spec = replace(like, key=entry.key, title=entry.title, context_tokens=context, licence="see the server's model")
    backend: Backend
    if entry.kind == "ollama":
        backend = OllamaBackend(entry.model, entry.url, entry.title)
    elif entry.is_llama_server:
        backend = LlamaServerBackend(spec, entry.url, entry.api_key, entry.title)
    else:
        backend = OpenAIBackend(entry.url, entry.model, entry.api_key, entry.title)
    return Choice(spec, backend, "Runs elsewhere: token counts are estimates.")


def _file() -> Path:
    return data_folder() / "backends.json"


def _write(entries: list[Added]) -> None:
    path = _file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        json.dump([asdict(entry) for entry in entries], file, indent=1)
    Path(file.name).chmod(0o600)  # it may hold API keys
    os.replace(file.name, path)
