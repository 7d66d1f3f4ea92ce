//! What Linux offers: clone with shared memory, namespaces, pid descriptors, sub-reapers, `/proc`.

mod confine;
mod files;
mod landlock;
mod log;
mod machine;
mod process_table;
mod signals;
mod socket;
mod spawn;
mod view;

pub(super) use confine::Confined;
pub(crate) use files::{Thing, change_mode, change_owner, rename_to_free_name};
pub(crate) use landlock::landlock_version;
pub(crate) use log::LogPlace;
pub(super) use machine::thread_count;
pub(crate) use machine::{
    adopt_orphans, boot_id, clock, hide_memory, name_process, open_directory_flags, poll_briefly,
    set_room_aside, widen_pipe,
};
pub(crate) use process_table::{
    children, disk_use_of, has_other_children, list_tree, process_entry, processes_of,
};
pub(super) use signals::{LAST_SIGNAL, is_ignored, set_default_action};
pub(crate) use signals::{Signals, send_signal};
pub(crate) use socket::{bind_socket, connect_socket, give_socket, peer_uid};
pub(super) use spawn::{
    bind_to_parent, close_on_exec_from, set_group, set_groups,
    set_user_that_may_have_no_other_process, spawn, user_may_have_other_processes,
};
pub(crate) use view::{
    TEMPORARY_DIRECTORIES, can_forgo_privileges, has_namespaces, has_private_temporary,
    hide_processes, leave_mount_namespace,
};
