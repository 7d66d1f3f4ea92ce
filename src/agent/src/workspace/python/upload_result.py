"""Keeps a file of a work item, for scripts that call this instead of writing to
HELIX_WORKITEM_UPLOAD_ROOT themselves.

    $HELIX_PYTHONPATH $HELIX_SCRIPT_ROOT/upload_result.py -result FILE -result_name NAME
"""

import argparse
import os
import shutil
import sys


def main():
    parser = argparse.ArgumentParser(description="Keeps a file of a work item.")
    parser.add_argument("-result", required=True, help="the file")
    parser.add_argument("-result_name", help="its name among the uploads, if another")
    # What else older callers give chose between ways of uploading; there is one.
    arguments, _ = parser.parse_known_args()
    root = os.environ.get("HELIX_WORKITEM_UPLOAD_ROOT")
    if not root:
        sys.exit("HELIX_WORKITEM_UPLOAD_ROOT is not set: this is no work item")
    root = os.path.realpath(root)
    name = (arguments.result_name or os.path.basename(arguments.result)).replace("\\", "/")
    target = os.path.realpath(os.path.join(root, name))
    if not target.startswith(root + os.sep):
        sys.exit("{0} is not the name of an upload".format(name))
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.realpath(arguments.result) != target:
        shutil.copyfile(arguments.result, target)
    print("will upload {0} as {1}".format(arguments.result, os.path.relpath(target, root)))


if __name__ == "__main__":
    main()
