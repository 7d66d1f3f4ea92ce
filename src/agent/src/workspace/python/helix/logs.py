"""Loggers by the name under which older scripts look for them."""

import logging


def get_logger(name="helix"):
    """A logger that writes to the console log like any other output."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    return logging.getLogger(name)
