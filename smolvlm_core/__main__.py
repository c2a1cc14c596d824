"""`python -m smolvlm_core`, the same as `smolvlm-lens`."""

from smolvlm_core.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
