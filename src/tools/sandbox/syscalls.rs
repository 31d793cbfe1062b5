//! Which system calls a call may make, by seccomp. Two filters: one refuses what a tool has no business with, the other
//! knows only the calls there are, so that those of other calling conventions (x32) and of newer kernels do not exist.
//!
//! New processes are refused, threads are not: what was started is one process, and dies as one, whatever it tries with
//! `setsid` or process groups (`stack.md`, trap 30).

#![cfg(target_os = "linux")]

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

#[derive(Debug, thiserror::Error)]
pub(super) enum SyscallsError {
    #[error("this processor is not known")]
    Architecture,
    #[error(transparent)]
    Filter(#[from] BackendError),
    #[error(transparent)]
    Apply(#[from] seccompiler::Error),
}

/// Numbers of calls up to here are known, the same on all processors from 424 on.
const LAST: i64 = 462;

/// Never: other processes, the kernel's own affairs, other ways to files, shared memory that outlives its maker.
const NEVER: &[i64] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_mq_open,
    libc::SYS_msgget,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_semget,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_setpgid,
    libc::SYS_setsid,
    libc::SYS_settimeofday,
    libc::SYS_shmget,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_tkill,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

#[cfg(target_arch = "x86_64")]
const NEVER_HERE: &[i64] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_HERE: &[i64] = &[];

/// Changes to files by their names that no list of files holds back.
const BY_NAME: &[i64] = &[
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchownat,
    libc::SYS_lremovexattr,
    libc::SYS_lsetxattr,
    libc::SYS_removexattr,
    libc::SYS_setxattr,
];

/// Newer than the names that we have.
const FCHMODAT2: i64 = 452;

#[cfg(target_arch = "x86_64")]
const BY_NAME_HERE: &[i64] = &[
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_futimesat,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
];
#[cfg(not(target_arch = "x86_64"))]
const BY_NAME_HERE: &[i64] = &[];

/// From here on; also for what this process becomes.
/// `own_user`: the process has a user to itself, so that what it does to files by their names is its own affair; without
/// one, the files of whoever runs the daemon are of the same user, and Landlock does not cover their modes and times.
pub(super) fn cut_down(network: bool, own_user: bool) -> Result<(), SyscallsError> {
    let architecture: TargetArch = std::env::consts::ARCH
        .try_into()
        .map_err(|_| SyscallsError::Architecture)?;
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let unknown = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let allow = SeccompAction::Allow;
    let never = SeccompFilter::new(
        rules(network, own_user)?,
        allow.clone(),
        refused,
        architecture,
    )?;
    let known = SeccompFilter::new(known(), unknown, allow, architecture)?;
    for filter in [known, never] {
        let program: BpfProgram = filter.try_into()?;
        seccompiler::apply_filter(&program)?;
    }
    Ok(())
}

/// All calls there are, but the newest way to make a process: its flags are in memory, where no filter sees them. The
/// library then takes the older way.
fn known() -> BTreeMap<i64, Vec<SeccompRule>> {
    (0..=LAST)
        .filter(|call| *call != libc::SYS_clone3)
        .map(|call| (call, Vec::new()))
        .collect()
}

/// What is refused: always, or where all conditions of one of its rules hold.
fn rules(network: bool, own_user: bool) -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in NEVER.iter().chain(NEVER_HERE) {
        rules.insert(*call, Vec::new());
    }
    let me = u64::from(std::process::id());
    let when = |argument, operator, value| -> Result<SeccompRule, BackendError> {
        let length = SeccompCmpArgLen::Dword;
        let condition = SeccompCondition::new(argument, length, operator, value)?;
        SeccompRule::new(vec![condition])
    };
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    let process = when(0, SeccompCmpOp::MaskedEq(thread), 0)?;
    rules.insert(libc::SYS_clone, vec![process]);
    for call in [libc::SYS_kill, libc::SYS_tgkill] {
        rules.insert(call, vec![when(0, SeccompCmpOp::Ne, me)?]);
    }
    // Its own limits, by number or as 0: two conditions that both have to fail.
    let others = SeccompRule::new(vec![
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, 0)?,
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, me)?,
    ])?;
    rules.insert(libc::SYS_prlimit64, vec![others]);
    if !own_user {
        for call in BY_NAME.iter().chain(BY_NAME_HERE) {
            rules.insert(*call, Vec::new());
        }
        // Without a name it means an open file.
        let named = SeccompCondition::new(1, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
        rules.insert(libc::SYS_utimensat, vec![SeccompRule::new(vec![named])?]);
    }
    if !network {
        rules.insert(libc::SYS_socket, Vec::new());
        let local = u64::from(libc::AF_UNIX.unsigned_abs());
        rules.insert(
            libc::SYS_socketpair,
            vec![when(0, SeccompCmpOp::Ne, local)?],
        );
    }
    Ok(rules)
}
