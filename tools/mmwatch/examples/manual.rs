// SPDX-License-Identifier: GPL-2.0

//! Writes the manual page of `mmwatch`, made from its command line arguments, to standard output.

#![forbid(unsafe_code)]

#[allow(dead_code)]
#[path = "../src/arguments.rs"]
mod arguments;

use arguments::Arguments;
use clap::CommandFactory;
use std::io;
use std::io::Write;
use std::process::ExitCode;

const FILES: &str = r#".SH FILES
.TP
\fI/dev/mmwatch\fR
The device of the kernel module \fBmmwatch\fR. Load the module first:
.B modprobe mmwatch
.PP
Opening the device needs root privileges or, with the udev rule that "make install" installs, the
group
.BR mmwatch .
The module must have the same version of the interface as the program.
.SH SEE ALSO
.BR strace (1),
.BR ptrace (2),
.BR userfaultfd (2)
"#;

fn page() -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Arguments::command()).render(&mut page)?;
    page.extend_from_slice(FILES.as_bytes());
    Ok(page)
}

fn main() -> ExitCode {
    match page().and_then(|page| io::stdout().write_all(&page)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "manual: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page names each option, and the exit codes.
    #[test]
    fn complete() {
        let page = String::from_utf8(page().unwrap())
            .unwrap()
            .replace('\\', "");
        let options: Vec<_> = Arguments::command()
            .get_arguments()
            .filter_map(|argument| argument.get_long().map(str::to_owned))
            .collect();
        assert!(options.len() > 10);
        for option in options {
            assert!(page.contains(&format!("--{option}")), "{option}");
        }
        for words in ["125 if mmwatch itself fails", "SH FILES", "report"] {
            assert!(page.contains(words), "{words}");
        }
    }
}
