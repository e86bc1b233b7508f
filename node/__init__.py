"""daisee: a neighbourhood trades its surplus energy on its own chain.

``node`` is the import package, ``daisee-node`` the distribution, ``daisee`` the command.
"""

__version__ = "0.1.0"
