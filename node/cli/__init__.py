"""The ``daisee`` command."""
