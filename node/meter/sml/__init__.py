"""SML: what German meters send by infrared light. Transport, encoding and values, of our own.

``SmlCodec`` takes a stream; ``decode_body`` takes one body whose transport is gone.
"""

from node.meter.sml.codec import SmlCodec
from node.meter.sml.reading import KIND, NO_DIRECTION, NO_PIN, NO_REGISTERS, decode_body

__all__ = ["KIND", "NO_DIRECTION", "NO_PIN", "NO_REGISTERS", "SmlCodec", "decode_body"]
