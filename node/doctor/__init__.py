"""What is wrong with a household's node, and what to do about it: small typed checks, side by side.

A composition root: it looks into every room, and changes nothing in any of them.
"""

from node.doctor.dump import dump_document
from node.doctor.examination import examine, page_of
from node.doctor.findings import CHECKS, Finding, Report, Severity

__all__ = ["CHECKS", "Finding", "Report", "Severity", "dump_document", "examine", "page_of"]
