//! The package that work items talk to the agent with, and its place on disk.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What is written, by its path beneath the directory of scripts.
const FILES: [(&str, &str); 5] = [
    (
        "helix/__init__.py",
        include_str!("python/helix/__init__.py"),
    ),
    ("helix/logs.py", include_str!("python/helix/logs.py")),
    ("helix/public.py", include_str!("python/helix/public.py")),
    (
        "helix/workitemutil.py",
        include_str!("python/helix/workitemutil.py"),
    ),
    ("upload_result.py", include_str!("python/upload_result.py")),
];

/// The scripts could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} `{path}`", path = path.display())]
pub(crate) struct ScriptsError {
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Writes the scripts beneath `directory`, each at one blow: a work item of an
/// earlier life of the agent may be importing them.
pub(crate) fn install(directory: &Path) -> Result<(), ScriptsError> {
    let failed = |operation, path: &Path| {
        let path = path.to_owned();
        move |source| ScriptsError {
            operation,
            path,
            source,
        }
    };
    let package = directory.join("helix");
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&package)
        .map_err(failed("create directory", &package))?;
    // Work items run as other users.
    for path in [directory, &package] {
        fs::set_permissions(path, Permissions::from_mode(0o755))
            .map_err(failed("set mode of", path))?;
    }
    for (name, text) in FILES {
        let path = directory.join(name);
        let unfinished = path.with_extension("py.new");
        fs::write(&unfinished, text).map_err(failed("write", &unfinished))?;
        fs::set_permissions(&unfinished, Permissions::from_mode(0o644))
            .map_err(failed("set mode of", &unfinished))?;
        fs::rename(&unfinished, &path).map_err(failed("rename to", &path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::process::Command;

    use helix_model::outcome::InnerRequest;
    use serde_json::Value;

    use super::*;
    use crate::workspace::environment;
    use crate::workspace::requests::{self, Metric};

    fn retry(reason: &str) -> InnerRequest {
        InnerRequest::InfrastructureRetry {
            reason: reason.to_owned(),
        }
    }

    fn reboot(reason: &str) -> InnerRequest {
        InnerRequest::Reboot {
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn scripts_are_written_and_written_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let scripts = directory.path().join("state/scripts");
        install(&scripts).expect("installed");
        let path = scripts.join("helix/public.py");
        fs::write(&path, "raise Exception").expect("spoilt");
        install(&scripts).expect("installed again");
        for (name, text) in FILES {
            let path = scripts.join(name);
            assert_eq!(fs::read_to_string(&path).expect("read"), text);
            assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o644);
        }
        let names = fs::read_dir(scripts.join("helix")).expect("read").count();
        assert_eq!(names, 4, "something was left behind");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("taken"), "").expect("written");
        let error = install(&directory.path().join("taken/scripts")).expect_err("refused");
        assert!(error.to_string().contains("taken/scripts/helix"), "{error}");
    }

    /// Runs a script with the package, in a directory of its own, and returns
    /// that directory. `None`, said on stderr, without Python.
    fn run_python(arguments: &[&str]) -> Option<tempfile::TempDir> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let Some(python) = environment::find_python(&path) else {
            #[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
            {
                eprintln!("skipped: there is no Python");
            }
            return None;
        };
        let directory = tempfile::tempdir().expect("a directory");
        let scripts = directory.path().join("scripts");
        install(&scripts).expect("installed");
        let uploads = directory.path().join("u");
        fs::create_dir(&uploads).expect("made");
        let output = Command::new(python)
            .args(arguments)
            .current_dir(directory.path())
            .env("PYTHONPATH", &scripts)
            .env(
                "HELIX_WORKITEM_REQUESTS",
                directory.path().join(requests::FILE_NAME),
            )
            .env("HELIX_WORKITEM_ROOT", directory.path())
            .env("HELIX_WORKITEM_UPLOAD_ROOT", &uploads)
            .env("PYTHONWARNINGS", "error")
            .output()
            .expect("python");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        Some(directory)
    }

    #[test]
    fn the_python_package_makes_requests_that_are_understood() {
        let script = "
from helix.public import request_reboot, send_metric, send_metrics
from helix.workitemutil import request_infra_retry
import helix.logs
request_infra_retry('emulator \"did not\" start: é\\nretry')
request_infra_retry()
request_reboot('device is gone')
send_metric('ExitCode', 83, {'platform': 'apple', 'isDevice': True}, event_type='MobileDeviceOperation')
send_metrics({'Duration': 1.5})
helix.logs.get_logger().info('done')
";
        let Some(directory) = run_python(&["-c", script]) else {
            return;
        };
        let read = requests::read(directory.path());
        assert_eq!(
            read.requests,
            [
                retry("emulator \"did not\" start: é retry"),
                retry("no reason given"),
                reboot("device is gone"),
            ]
        );
        let text = str::to_owned;
        assert_eq!(
            read.metrics,
            [
                Metric {
                    name: text("ExitCode"),
                    value: 83.0,
                    dimensions: vec![
                        (text("isDevice"), text("True")),
                        (text("platform"), text("apple"))
                    ],
                    event_type: Some(text("MobileDeviceOperation")),
                },
                Metric {
                    name: text("Duration"),
                    value: 1.5,
                    dimensions: Vec::new(),
                    event_type: None,
                },
            ]
        );
        assert_eq!(read.problems, Vec::<String>::new());
    }

    #[test]
    fn the_python_reporter_writes_the_report_that_the_agent_reads() {
        let script = "
from helix.public import (AzureDevOpsReportingParameters, DefaultTestReporter, TestResult,
                          TestResultAttachment)
results = [
    TestResult(name='T.M', kind='xunit', type_name='T', method='M', duration=0.5, result='Fail',
               exception_type='E', failure_message='boom é', stack_trace='at T.M',
               skip_reason=None, attachments=[TestResultAttachment(name='log.txt', text='x')]),
    None,
    TestResult('T.N', 'xunit', 'T', 'N', 0, 'Skip', None, None, None, 'later', None),
]
parameters = AzureDevOpsReportingParameters('https://x/', 'public', '42', None)
DefaultTestReporter(parameters).report_results(result for result in results)
";
        let Some(directory) = run_python(&["-c", script]) else {
            return;
        };
        let report = fs::read(directory.path().join("__test_report_v2.json")).expect("a report");
        let report: Value = serde_json::from_slice(&report).expect("JSON");
        assert_eq!(
            report,
            serde_json::json!({
                "schema_version": 1,
                "azdo": {
                    "collection_uri": "https://x/",
                    "team_project": "public",
                    "test_run_id": "42",
                    "access_token": null,
                },
                "results": [
                    {
                        "name": "T.M", "kind": "xunit", "type": "T", "method": "M",
                        "duration_seconds": 0.5, "result": "Fail", "exception_type": "E",
                        "failure_message": "boom é", "stack_trace": "at T.M",
                        "skip_reason": null, "ignored": false,
                        "attachments": [{"name": "log.txt", "text": "x"}],
                    },
                    {
                        "name": "T.N", "kind": "xunit", "type": "T", "method": "N",
                        "duration_seconds": 0, "result": "Skip", "exception_type": null,
                        "failure_message": null, "stack_trace": null,
                        "skip_reason": "later", "ignored": false,
                        "attachments": [],
                    },
                ],
            })
        );
    }

    #[test]
    fn the_upload_script_copies_into_the_upload_root_only() {
        let script = "
import os, subprocess, sys
open('core.txt', 'w').write('dump')
upload = [sys.executable, os.path.join('scripts', 'upload_result.py'), '-result', 'core.txt']
subprocess.check_call(upload + ['-result_name', 'dumps/a.txt', '-upload_client_type', 'Blob'])
subprocess.check_call(upload)
assert subprocess.call(upload + ['-result_name', '../outside.txt'], stderr=subprocess.PIPE) != 0
";
        let Some(directory) = run_python(&["-c", script]) else {
            return;
        };
        for path in ["u/dumps/a.txt", "u/core.txt"] {
            assert_eq!(
                fs::read(directory.path().join(path)).expect("uploaded"),
                b"dump"
            );
        }
        assert!(!directory.path().join("outside.txt").exists());
    }

    #[test]
    fn the_scripts_are_in_the_language_of_python_3_4() {
        let script = "
import ast, os, sys
if sys.version_info < (3, 8):
    sys.exit(0)
for directory, _, names in os.walk('scripts'):
    for name in names:
        if name.endswith('.py'):
            text = open(os.path.join(directory, name)).read()
            tree = ast.parse(text, name, feature_version=(3, 4))
            assert not any(isinstance(node, ast.JoinedStr) for node in ast.walk(tree)), name
            assert text.isascii(), name
";
        run_python(&["-c", script]);
    }
}
