"""The only room that speaks SQLite: a household's own database, a community's ledger, and what its
organiser knows of people."""

from node.store.ledger import LEDGER_FILE, LedgerDatabase
from node.store.node_database import NodeDatabase
from node.store.node_rows import OwnTotals, OwnTrade
from node.store.operator import OperatorDatabase

__all__ = [
    "LEDGER_FILE",
    "LedgerDatabase",
    "NodeDatabase",
    "OperatorDatabase",
    "OwnTotals",
    "OwnTrade",
]
