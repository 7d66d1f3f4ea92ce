//! When an agent is alive, silent or lost.

use proptest::prelude::*;

use super::*;

fn policy() -> LivenessPolicy {
    LivenessPolicy {
        silence: Duration::from_secs(30),
        patience: Duration::from_secs(120),
    }
}

#[test]
fn agent_is_alive_then_silent_then_lost() {
    let check = |millis, expected, next: Option<u64>| {
        let silent_for = Duration::from_millis(millis);
        assert_eq!(policy().judge(silent_for), expected, "{millis}");
        let next = next.map(Duration::from_millis);
        assert_eq!(policy().next_judgement_in(silent_for), next, "{millis}");
    };
    check(0, Liveness::Alive, Some(30_000));
    check(29_999, Liveness::Alive, Some(1));
    check(30_000, Liveness::Silent, Some(90_000));
    check(119_999, Liveness::Silent, Some(1));
    check(120_000, Liveness::Lost, None);
}

proptest! {
    #[test]
    fn judgement_changes_when_it_says(silent: u32, silence in 1_u32.., patience in 1_u32..) {
        let millis = |count: u32| Duration::from_millis(u64::from(count));
        let policy = LivenessPolicy { silence: millis(silence), patience: millis(patience) };
        let silent = millis(silent);
        if let Some(wait) = policy.next_judgement_in(silent) {
            let before = policy.judge(silent);
            prop_assert!(before != policy.judge(silent + wait));
            if let Some(earlier) = wait.checked_sub(Duration::from_millis(1)) {
                prop_assert_eq!(before, policy.judge(silent + earlier));
            }
        }
    }
}
