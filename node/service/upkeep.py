"""What a node does for itself at night: forgetting raw samples that nobody will ask for any more,
and a backup that is opened and checked."""

from __future__ import annotations

import asyncio
import logging
import random
from pathlib import Path
from typing import Final

from node.clock import Clock
from node.config import StorageSection
from node.errors import ConfigurationError, Transient
from node.service.evidence import EVIDENCE_KEY, copy_evidence_key
from node.store import NodeDatabase

__all__ = ["BACKUP_NAME", "EVIDENCE_KEY", "Upkeep"]

log = logging.getLogger("daisee.service")

BACKUP_NAME: Final = "node.db"
DAY_S: Final = 86_400
HOUR_S: Final = 3_600

OVERDUE_S: Final = DAY_S + 2 * HOUR_S
"""A node that was off at night makes its backup soon after it is on again."""

SOON_S: Final = 600
TRIES: Final = 3


class Upkeep:
    """Nightly work on one database. ``trouble`` says what went wrong the last time."""

    def __init__(
        self, settings: StorageSection, storage: NodeDatabase, clock: Clock, rng: random.Random
    ) -> None:
        self.trouble = ""
        self._settings = settings
        self._storage = storage
        self._clock = clock
        self._minute_s = rng.randrange(HOUR_S)

    @property
    def backup_path(self) -> Path:
        """The newest backup; ``.1`` and on are the nights before."""
        return self._settings.backup_folder / BACKUP_NAME

    @property
    def last_backup_s(self) -> int | None:
        """When the newest backup was made; None for never."""
        try:
            return int(self.backup_path.stat().st_mtime)
        except OSError:
            return None

    async def run(self) -> None:
        """Night after night, until cancelled."""
        while True:
            await self._clock.sleep_until(self.next_s(self._clock.now_s()))
            # By itself: a place for backups that is gone must not let the database grow for ever.
            self._forget_in_time()
            await self._with_tries()

    def next_s(self, now_s: int) -> int:
        """When the next backup is due: this node's own minute of the hour that was set, or soon if
        the last one is overdue."""
        last_s = self.last_backup_s
        if last_s is None or last_s < now_s - OVERDUE_S:
            return now_s + SOON_S
        due_s = now_s // DAY_S * DAY_S + self._settings.backup_hour * HOUR_S + self._minute_s
        return due_s if due_s > now_s else due_s + DAY_S

    async def back_up(self) -> None:
        """A backup of the database, and of the key without which it is nothing.

        Raises Transient, ConfigurationError or OSError.
        """
        self._settings.backup_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        await asyncio.to_thread(
            self._storage.backup, self.backup_path, keep=self._settings.keep_backups
        )
        copy_evidence_key(self._settings.database, self._settings.backup_folder)
        log.info("backup_made path=%s", self.backup_path)

    def forget_samples(self) -> int:
        """Raw samples older than the settings want them; how many batches there were.

        Raises Transient or ConfigurationError.
        """
        before_s = self._clock.now_s() - self._settings.keep_samples_days * DAY_S
        return self._storage.prune_samples(before_s)

    def _forget_in_time(self) -> None:
        try:
            pruned = self.forget_samples()
        except (Transient, ConfigurationError) as error:
            log.warning("samples_not_pruned why=%r", str(error))
        else:
            log.info("samples_pruned batches=%d", pruned)

    async def _with_tries(self) -> None:
        """An hour between two tries; what failed at last is tried again the next night."""
        for number in range(TRIES):
            try:
                await self.back_up()
            except (Transient, ConfigurationError, OSError) as error:
                if str(error) != self.trouble:
                    log.warning("backup_failed why=%r", str(error))
                self.trouble = str(error)
            else:
                self.trouble = ""
                return
            if number < TRIES - 1:
                await self._clock.sleep_until(self._clock.now_s() + HOUR_S)
