"""What a command can ask of Helix while it runs as a work item.

The package is put on PYTHONPATH for every work item. It needs nothing but the
standard library of Python 3.4 or later.
"""
