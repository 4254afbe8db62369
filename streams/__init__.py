"""The running system: intake, the Faust worker, the publisher, the sink."""
