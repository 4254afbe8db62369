"""Whether a database can be captured, and what mends it; works on any database.

>>> report = await examine(settings.postgres)  # doctest: +SKIP
>>> [finding.message for finding in report.findings if finding.sql]  # doctest: +SKIP
['replica, expected logical']
"""

from connectors.doctor.examine import Report, examine, judge
from connectors.doctor.findings import Finding, Level

__all__ = ["Finding", "Level", "Report", "examine", "judge"]
