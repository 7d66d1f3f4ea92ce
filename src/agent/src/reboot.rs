//! Reboots that work items ask for: after the last attempt has ended, by a
//! command of the operator's.
//!
//! The agent has no right to reboot a machine, and as a service no way to any; the
//! command asks somebody who has, such as the service `helix-root@reboot` of the
//! package. It runs as the agent and not as a work item, which is why it is started
//! here and not by the launcher.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use crate::core::Core;

/// Between two looks at whether all work has ended.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// After a command that ended well the machine should be going down.
const GOES_DOWN_WITHIN: Duration = Duration::from_secs(300);

/// Has the machine rebooted once nothing runs any more.
///
/// Returns at once. Without a configured command the wish is logged, and whoever
/// reads the attempt's terminal event may act on it.
pub(crate) fn request(core: &Arc<Core>, reason: &str) {
    let Some(command) = core.settings().config.reboot_command.clone() else {
        tracing::warn!(
            reason,
            "work item asks for a reboot and no command is configured for that"
        );
        return;
    };
    if !core.begin_reboot() {
        return;
    }
    tracing::warn!(reason, "machine reboots once nothing runs");
    let core = Arc::clone(core);
    tokio::spawn(async move {
        while core.running() > 0 {
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
        let ended = tokio::process::Command::new(command.program())
            .args(command.arguments())
            .stdin(Stdio::null())
            .status()
            .await;
        match ended {
            Ok(status) if status.success() => {
                tokio::time::sleep(GOES_DOWN_WITHIN).await;
                tracing::error!("reboot command ended well and the machine is still up");
            }
            Ok(status) => tracing::error!(status = %status, "reboot command failed"),
            Err(error) => tracing::error!(error = %error, "reboot command could not be started"),
        }
        core.end_reboot();
    });
}
