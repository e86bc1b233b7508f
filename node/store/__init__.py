"""The only room that speaks SQLite: a household's own database and a community's ledger."""

from node.store.ledger import LEDGER_FILE, LedgerDatabase
from node.store.node_database import NodeDatabase
from node.store.node_rows import OwnTotals, OwnTrade

__all__ = ["LEDGER_FILE", "LedgerDatabase", "NodeDatabase", "OwnTotals", "OwnTrade"]
