"""The command ``deltafolio``."""
