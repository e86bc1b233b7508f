"""``report.html``: a run on one page that needs nothing but itself.

::

    series    the slots, summed into few bins
    text      words and figures in English and French
    svg       the parts of a chart          charts    the charts
    markup    the parts of a page           sections  energy, comparison, price
    homes     savings, homes, trades        notes     what is real, chain use, reproduction
    page      all of it together; style.css and language.js beside it
"""

from simulations.report.page import render_report

__all__ = ["render_report"]
