//! Tests of what is said about missing tools.

use super::*;

#[test]
fn missing_tools_are_named_together() {
    let refusal = refusal(&wanting(&["gpu", "os=linux", "node 22"]), &agent());
    let Refusal::MissingCapability {
        missing,
        installations,
        cooling_down,
    } = &refusal
    else {
        panic!("{refusal:?}");
    };
    let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        ["`gpu` (it has none)", "`node 22` (it has 18.2, 20.1)"]
    );
    assert!(installations.is_empty() && cooling_down.is_empty());
    check(&refusal, "MISSING_CAPABILITY", false, None);
}

#[test]
fn missing_tool_with_an_idle_provisioner_is_to_be_installed() {
    let provisioners = vec![
        provisioner("xcode-15", "xcode", &["15.4"], Provisioning::Idle),
        provisioner("xcode-16", "xcode", &["16.1.0"], Provisioning::Idle),
    ];
    let refusal = refusal(
        &wanting(&["xcode 16.1"]),
        &AgentSnapshot {
            provisioners,
            ..agent()
        },
    );
    let Refusal::Provisioning { installations } = &refusal else {
        panic!("{refusal:?}")
    };
    assert_eq!(installations.len(), 1);
    assert_eq!(installations[0].provisioner, "xcode-16");
    assert_eq!(
        installations[0].phase,
        Phase::ToStart {
            expected_end: Some(at(1600))
        }
    );
    check(&refusal, "PROVISIONING", true, Some(1500));
}

#[test]
fn installation_under_way_says_since_when_and_how_long() {
    let with = |states: [Provisioning; 2]| {
        let [node, ruby] = states;
        let provisioners = vec![
            provisioner("n", "node", &[], node),
            provisioner("r", "ruby", &[], ruby),
        ];
        let agent = AgentSnapshot {
            provisioners,
            ..agent()
        };
        refusal(&wanting(&["node 22", "ruby"]), &agent)
    };
    check(
        &with([running(50, Some(400)), running(60, Some(250))]),
        "PROVISIONING",
        true,
        Some(300),
    );
    check(
        &with([running(50, Some(400)), running(60, None)]),
        "PROVISIONING",
        true,
        None,
    );
    // Overdue: any moment now, but not at once.
    check(
        &with([running(50, Some(90)), running(60, Some(99))]),
        "PROVISIONING",
        true,
        Some(1),
    );
    check(
        &with([running(50, Some(400)), Provisioning::Idle]),
        "PROVISIONING",
        true,
        Some(1500),
    );
}

#[test]
fn tool_whose_installation_failed_is_missing_until_it_is_tried_again() {
    let with = |provisioners| {
        refusal(
            &wanting(&["node 22", "ruby"]),
            &AgentSnapshot {
                provisioners,
                ..agent()
            },
        )
    };
    let partly = with(vec![
        provisioner("n", "node", &[], running(50, Some(400))),
        provisioner("r", "ruby", &[], cooling(700)),
    ]);
    let Refusal::MissingCapability {
        missing,
        installations,
        cooling_down,
    } = &partly
    else {
        panic!("{partly:?}");
    };
    assert_eq!(
        (missing.len(), installations.len(), cooling_down.len()),
        (2, 1, 1)
    );
    assert_eq!(
        (cooling_down[0].until, cooling_down[0].last_error.as_str()),
        (at(700), "no space")
    );
    check(&partly, "MISSING_CAPABILITY", true, Some(600));

    let unknown = with(vec![
        provisioner("n", "node", &[], running(50, None)),
        provisioner("r", "ruby", &[], cooling(700)),
    ]);
    check(&unknown, "MISSING_CAPABILITY", true, None);
    let later = with(vec![
        provisioner("n", "node", &[], running(50, Some(900))),
        provisioner("r", "ruby", &[], cooling(700)),
    ]);
    check(&later, "MISSING_CAPABILITY", true, Some(800));

    let hopeless = with(vec![provisioner("r", "ruby", &[], cooling(700))]);
    check(&hopeless, "MISSING_CAPABILITY", false, None);

    let over = with(vec![
        provisioner("n", "node", &[], cooling(100)),
        provisioner("r", "ruby", &[], cooling(99)),
    ]);
    check(&over, "PROVISIONING", true, Some(1500));

    // A second provisioner of the same stands in for the one that cools down.
    let other = with(vec![
        provisioner("n", "node", &[], cooling(700)),
        provisioner("n2", "node", &["22.1"], Provisioning::Idle),
        provisioner("r", "ruby", &[], Provisioning::Idle),
    ]);
    check(&other, "PROVISIONING", true, Some(1500));
}
