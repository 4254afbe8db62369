"""What a supervisor tells a process in its environment; it costs nothing to import."""

SUPERVISED = "DELTAFOLIO_SUPERVISED"
"""Set in a process whose standard input is the supervisor's pipe."""

PROCESS_NAME = "DELTAFOLIO_PROCESS"
"""The name under which a process was started, for its log and its metrics."""
