"""``python -m thalweg.cli`` is ``thalweg``."""

from thalweg.cli import main

raise SystemExit(main())
