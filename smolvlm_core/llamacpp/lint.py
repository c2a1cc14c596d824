"""What is wrong with a deployment's files before anything runs: a Modelfile, GGUF files, a checkpoint folder."""

from __future__ import annotations

from pathlib import Path

from smolvlm_core.errors import ModelError
from smolvlm_core.llamacpp.findings import Finding
from smolvlm_core.llamacpp.gguf_lint import checkpoint_findings, gguf_findings
from smolvlm_core.llamacpp.modelfile import modelfile_findings


def lint(path: Path) -> list[Finding]:
    """Findings on a Modelfile, a .gguf file (with the projector in its folder) or a checkpoint folder, errors first.

    Raises:
        ModelError: there is no such file, or it is of another kind.
    """
    if path.is_dir():
        found = checkpoint_findings(path)
    elif path.suffix == ".gguf":
        found = gguf_findings(path)
    elif path.is_file():
        found = modelfile_findings(path)
    else:
        raise ModelError(f"There is nothing at {path}.", "Give a Modelfile, a .gguf file or a checkpoint folder.")
    wrong = [finding for finding in found if finding.level != "ok"]
    return sorted(wrong, key=lambda f: (f.level != "error", f.line or 0))
