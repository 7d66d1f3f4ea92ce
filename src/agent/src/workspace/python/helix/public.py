"""The part of the package that scripts are meant to import.

Requests to the agent come from `helix.workitemutil`. The reporters write test
results to `__test_report_v2.json` in the root of the work item, where the agent
finds them.
"""

import json
import os

from helix.workitemutil import request_infra_retry, request_reboot, send_metric, send_metrics

__all__ = [
    "AzureDevOpsReportingParameters",
    "DefaultTestReporter",
    "PackingTestReporter",
    "TestResult",
    "TestResultAttachment",
    "request_infra_retry",
    "request_reboot",
    "send_metric",
    "send_metrics",
]

REPORT_FILE = "__test_report_v2.json"
SCHEMA_VERSION = 1

_RESULT_FIELDS = (
    "name",
    "kind",
    "type",
    "method",
    "duration_seconds",
    "result",
    "exception_type",
    "failure_message",
    "stack_trace",
    "skip_reason",
)
_AZDO_FIELDS = ("collection_uri", "team_project", "test_run_id", "access_token")


class TestResultAttachment(object):
    """A text that belongs to one test result."""

    # Test runners that collect classes by name pass this one by.
    __test__ = False

    def __init__(self, name, text):
        self.name = name
        self.text = text


class TestResult(object):
    """The result of one test: `Pass`, `Fail` or `Skip`."""

    __test__ = False

    def __init__(
        self,
        name,
        kind,
        type_name,
        method,
        duration,
        result,
        exception_type=None,
        failure_message=None,
        stack_trace=None,
        skip_reason=None,
        attachments=None,
    ):
        self.name = name
        self.kind = kind
        self.type = type_name
        self.method = method
        self.duration_seconds = duration
        self.result = result
        self.exception_type = exception_type
        self.failure_message = failure_message
        self.stack_trace = stack_trace
        self.skip_reason = skip_reason
        self.attachments = attachments
        self.ignored = False


class AzureDevOpsReportingParameters(object):
    """Where results would be published, as the pipeline gave it."""

    def __init__(self, collection_uri, team_project, test_run_id, access_token=None):
        self.collection_uri = collection_uri
        self.team_project = team_project
        self.test_run_id = test_run_id
        self.access_token = access_token


class PackingTestReporter(object):
    """Writes results to the report file, in place of an earlier one."""

    def __init__(self, azdo_parameters, log=None):
        self._azdo_parameters = azdo_parameters
        self._log = log

    def report_results(self, results):
        """Writes all results; those that are None are left out."""
        report = {
            "schema_version": SCHEMA_VERSION,
            "azdo": _fields(self._azdo_parameters, _AZDO_FIELDS),
            "results": [_result(result) for result in results or () if result is not None],
        }
        directory = os.environ.get("HELIX_WORKITEM_ROOT") or os.getcwd()
        path = os.path.join(directory, REPORT_FILE)
        unfinished = "{0}.{1}".format(path, os.getpid())
        # The report may hold a token: nobody else is to read it.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with os.fdopen(os.open(unfinished, flags, 0o600), "wb") as stream:
            stream.write(json.dumps(report).encode("ascii"))
        os.replace(unfinished, path)
        if self._log is not None:
            self._log.info("wrote %d test results to %s", len(report["results"]), path)


class DefaultTestReporter(PackingTestReporter):
    """The reporter that scripts use when they do not care which."""


def _result(result):
    fields = _fields(result, _RESULT_FIELDS)
    fields["ignored"] = bool(getattr(result, "ignored", False))
    attachments = getattr(result, "attachments", None) or ()
    fields["attachments"] = [_fields(each, ("name", "text")) for each in attachments]
    return fields


def _fields(value, names):
    return dict((name, getattr(value, name, None)) for name in names)
