"""Reads a result file with a reader of Python: every test with name, outcome, duration and message.

Called by the benchmark as `peers.py READER LAYOUT FILE`. Prints the number of tests, the seconds it took without the
start of Python, and the peak of memory in kilobytes; exits with 3 where the reader is not installed.
"""

import resource
import sys
import time


def outcome(element, layout):
    if layout == "xunit":
        failure = element.find("failure/message")
        return element.get("result"), failure.text if failure is not None else None
    for child in element:
        if child.tag in ("failure", "error", "skipped"):
            return child.tag, child.get("message")
    return "passed", None


def iterate(iterparse, layout, file):
    name = "test" if layout == "xunit" else "testcase"
    container = "collection" if layout == "xunit" else "testsuite"
    parents = []
    for event, element in iterparse(file, events=("start", "end")):
        if event == "start":
            if element.tag == container:
                parents.append(element)
        elif element.tag == name:
            duration = float(element.get("time") or 0)
            yield element.get("name"), *outcome(element, layout), duration
            # Else the whole document would be kept.
            parents[-1].clear()


def element_tree(layout, file):
    import xml.etree.ElementTree as tree

    return iterate(tree.iterparse, layout, file)


def lxml(layout, file):
    from lxml import etree

    return iterate(etree.iterparse, layout, file)


def junitparser(layout, file):
    from junitparser import JUnitXml

    for suite in JUnitXml.fromfile(file):
        for case in suite:
            result = case.result[0] if case.result else None
            yield case.name, type(result).__name__, result.message if result else None, case.time


def main():
    reader, layout, file = sys.argv[1:]
    read = {"xml.etree": element_tree, "lxml": lxml, "junitparser": junitparser}[reader]
    began = time.monotonic()
    try:
        count = sum(1 for _ in read(layout, file))
    except ImportError:
        sys.exit(3)
    seconds = time.monotonic() - began
    print(count, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


main()
