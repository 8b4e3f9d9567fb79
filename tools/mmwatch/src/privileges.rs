// SPDX-License-Identifier: GPL-2.0

//! Detects programs that run without the privileges of their file. The kernel ignores the setuid
//! and setgid bits and the capabilities of a file if the process is traced, unless the tracer has
//! `CAP_SYS_PTRACE`.

use rustix::fs::getxattr;
use rustix::fs::statvfs;
use rustix::fs::StatVfsMountFlags;
use std::fs;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

const SETUID: u32 = 0o4000;
/// Without execute permission of the group, the bit has a different meaning.
const SETGID: u32 = 0o2010;

/// The credentials of a process, from `/proc/PID/status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Credentials {
    /// Effective user and group.
    user: u32,
    group: u32,
    has_capabilities: bool,
    /// The process has given up all further privileges.
    no_new_privileges: bool,
}

impl Credentials {
    fn parse(status: &[u8]) -> Self {
        let mut credentials = Self::default();
        for line in status.split(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(line);
            let mut words = line.split_ascii_whitespace();
            let name = words.next();
            let mut word = |index| words.nth(index).unwrap_or("0");
            match name {
                Some("Uid:") => credentials.user = word(1).parse().unwrap_or(0),
                Some("Gid:") => credentials.group = word(1).parse().unwrap_or(0),
                Some("CapPrm:") => {
                    credentials.has_capabilities = word(0).bytes().any(|it| it != b'0');
                }
                Some("NoNewPrivs:") => credentials.no_new_privileges = word(0) == "1",
                _ => {}
            }
        }
        credentials
    }

    /// Returns which privileges of its file a process lacks.
    fn lacks(&self, mode: u32, user: u32, group: u32, has_capabilities: bool) -> Option<&str> {
        if self.no_new_privileges {
            None
        } else if mode & SETUID != 0 && self.user != user {
            Some("setuid bit")
        } else if mode & SETGID == SETGID && self.group != group {
            Some("setgid bit")
        } else if has_capabilities && !self.has_capabilities {
            Some("capabilities")
        } else {
            None
        }
    }
}

/// Returns which privileges of its file the program of a traced process lacks.
pub fn lacking(pid: i32) -> Option<String> {
    let exe = format!("/proc/{pid}/exe");
    let file: Metadata = fs::metadata(&exe).ok()?;
    let has_capabilities = getxattr(&exe, "security.capability", &mut [0u8; 64]).is_ok();
    if file.mode() & (SETUID | SETGID) == 0 && !has_capabilities {
        return None;
    }
    let ignores = statvfs(&exe).is_ok_and(|it| it.f_flag.contains(StatVfsMountFlags::NOSUID));
    let status = fs::read(format!("/proc/{pid}/status")).ok()?;
    Credentials::parse(&status)
        .lacks(file.mode(), file.uid(), file.gid(), has_capabilities)
        .filter(|_| !ignores)
        .map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &[u8] = b"Name:\tp\xff\nUid:\t1000\t1001\t1001\t1001\nGid:\t100\t101\t101\t101\n\
        CapPrm:\t0000000000000000\nNoNewPrivs:\t0\n";

    #[test]
    fn credentials() {
        let expected = Credentials {
            user: 1001,
            group: 101,
            has_capabilities: false,
            no_new_privileges: false,
        };
        assert_eq!(Credentials::parse(STATUS), expected);
    }

    #[test]
    fn privileges_that_are_lacking() {
        let own = Credentials::parse(STATUS);
        assert_eq!(own.lacks(0o104755, 0, 0, false), Some("setuid bit"));
        assert_eq!(own.lacks(0o104755, 1001, 0, false), None);
        assert_eq!(own.lacks(0o102755, 0, 0, false), Some("setgid bit"));
        assert_eq!(own.lacks(0o102745, 0, 0, false), None);
        assert_eq!(own.lacks(0o100755, 0, 0, true), Some("capabilities"));
        assert_eq!(own.lacks(0o100755, 0, 0, false), None);
        let given_up = Credentials {
            no_new_privileges: true,
            ..own
        };
        assert_eq!(given_up.lacks(0o104755, 0, 0, true), None);
    }

    #[test]
    fn of_this_process() {
        assert_eq!(lacking(std::process::id() as i32), None);
        assert_eq!(lacking(-1), None);
    }
}
