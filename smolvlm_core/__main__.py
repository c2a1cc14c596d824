from smolvlm_core.cli import main

raise SystemExit(main())
