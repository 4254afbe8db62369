"""The journal fed again: a range of sessions, an older prefix, an edited copy."""
