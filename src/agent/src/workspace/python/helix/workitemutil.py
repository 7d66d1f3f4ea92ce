"""Requests of a work item to the agent that runs it.

A request is one line of JSON at the end of the file that the variable
HELIX_WORKITEM_REQUESTS names. The agent reads the file once the command and all
its processes are gone. Whoever has no Python writes the line itself:

    echo '{"request": "infra_retry", "reason": "device lost"}' >> "$HELIX_WORKITEM_REQUESTS"
"""

import json
import os

__all__ = ["request_infra_retry", "request_reboot", "send_metric", "send_metrics"]


def request_infra_retry(reason=None):
    """Asks to run the work item again, at the end of its queue.

    Say this when the machine is to blame: the results of this attempt are not
    reported, and another machine is likely to take the next one.
    """
    _append({"request": "infra_retry", "reason": _text(reason)})


def request_reboot(reason=None):
    """Asks to reboot the machine once this attempt is reported."""
    _append({"request": "reboot", "reason": _text(reason)})


def send_metric(name, value, dimensions=None, event_type=None):
    """Records one number. `dimensions` maps names to texts."""
    request = {"request": "metric", "name": _text(name), "value": float(value)}
    if dimensions:
        request["dimensions"] = dict(
            (_text(key), _text(text)) for key, text in dict(dimensions).items()
        )
    if event_type is not None:
        request["event_type"] = _text(event_type)
    _append(request)


def send_metrics(metrics, dimensions=None, event_type=None):
    """Records several numbers, given as a mapping from name to value."""
    for name, value in dict(metrics).items():
        send_metric(name, value, dimensions, event_type=event_type)


def _text(value):
    return "" if value is None else str(value)


def _append(request):
    path = os.environ.get("HELIX_WORKITEM_REQUESTS")
    if not path:
        raise EnvironmentError("HELIX_WORKITEM_REQUESTS is not set: this is no work item")
    line = (json.dumps(request, sort_keys=True) + "\n").encode("ascii")
    # One write to a file opened for appending: lines of several processes do not mix.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)
