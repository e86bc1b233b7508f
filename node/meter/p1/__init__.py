"""DSMR, ESMR and eMUCS P1: the customer port of Dutch, Belgian, Luxembourgish and Nordic meters.

``P1Codec`` is our own and always there; ``EncryptedP1Codec`` takes what Luxembourg sends. With the
library dsmr-parser installed, ``cross_checking_reader`` lets a second reader judge each telegram.
"""

from node.meter.p1.codec import P1Codec, Reader
from node.meter.p1.encrypted import LUXEMBOURG_AUTHENTICATION_KEY, EncryptedP1Codec
from node.meter.p1.library import cross_checking_reader
from node.meter.p1.reading import KIND, NO_CHECKSUM, NO_END, NO_REGISTERS, read_telegram
from node.meter.p1.telegram import ENCRYPTED, Telegram

__all__ = [
    "ENCRYPTED",
    "KIND",
    "LUXEMBOURG_AUTHENTICATION_KEY",
    "NO_CHECKSUM",
    "NO_END",
    "NO_REGISTERS",
    "EncryptedP1Codec",
    "P1Codec",
    "Reader",
    "Telegram",
    "cross_checking_reader",
    "read_telegram",
]
