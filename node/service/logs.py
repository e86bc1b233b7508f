"""What the service writes to stderr: one line for an event, ``key=value`` or JSON.

Times are left to journald, which has its own; on a terminal they are added.
"""

from __future__ import annotations

import json
import logging
import sys

from node.config import LogSection

__all__ = ["set_up_logging"]


class _Json(logging.Formatter):
    """A line is a document."""

    def format(self, record: logging.LogRecord) -> str:
        """The record, its traceback included."""
        document: dict[str, object] = {
            "at_s": int(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if record.exc_info:
            document["trace"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False, sort_keys=True)


def set_up_logging(settings: LogSection) -> None:
    """Have the whole process log as the settings say. Libraries are heard from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    if settings.format == "json":
        handler.setFormatter(_Json())
    else:
        times = "%(asctime)s " if sys.stderr.isatty() else ""
        handler.setFormatter(logging.Formatter(f"{times}%(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for own in ("daisee", "node"):
        logging.getLogger(own).setLevel(settings.level.upper())
