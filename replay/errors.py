"""What replay raises; every message says what to do."""


class ReplayError(Exception):
    """Base of what replay raises.

    ::

        ReplayError
        ├── AskError    what is asked for cannot be had: dates, portfolios
        ├── EditsError  a file of edits says something that cannot be done
        ├── RunError    a run is not there, is busy, or is in another phase
        └── WorkError   the workers of a run, or its broker, failed
    """


class AskError(ReplayError):
    """What is asked for cannot be had."""


class EditsError(ReplayError):
    """A file of edits says something that cannot be done: its line and path."""


class RunError(ReplayError):
    """A run is not there, is busy, or is in another phase."""


class WorkError(ReplayError):
    """The workers of a run failed; it can be resumed."""
