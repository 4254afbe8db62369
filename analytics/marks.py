"""Marks in arrays of times and causes."""

NEVER = -(2**63)
NO_TIME = NEVER + 1
NO_CAUSE = -1
