"""``python -m deltafolio``: the same as the command ``deltafolio``."""

from deltafolio.cli import main

main()
