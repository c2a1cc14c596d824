"""Runs the converter in a process of its own, so that its memory is released and a failure harms nothing else.

    python -m smolvlm_core.llamacpp.convert_runner PRE_TOKENIZER CHECKPOINT --outfile F --outtype f16 [--mmproj]

PRE_TOKENIZER is used where the converter does not recognise the checkpoint's own. "-": none, and the converter fails then.
"""

from __future__ import annotations

import sys
from typing import Any


def main() -> None:
    import convert_hf_to_gguf
    from conversion.base import TextModel

    pre_tokenizer = sys.argv.pop(1)
    recognised = TextModel.get_vocab_base_pre

    def or_named(self: Any, tokenizer: Any) -> str:
        try:
            return str(recognised(self, tokenizer))
        except NotImplementedError:
            if pre_tokenizer == "-":
                raise
            sys.stderr.write(f"PRE-TOKENIZER {pre_tokenizer}\n")
            return pre_tokenizer

    TextModel.get_vocab_base_pre = or_named
    convert_hf_to_gguf.main()


if __name__ == "__main__":
    main()
