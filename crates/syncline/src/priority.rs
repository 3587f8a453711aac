//! How much of the machine a thread gets while others want it too.
//!
//! The system's call for it is not in the standard library; POSIX has a command that makes it.

use std::process::{Command, Stdio};

/// The lowest priority.
const NICENESS: &str = "19";

/// Gives this thread, and those that it starts from now on, what others leave over. Returns whether
/// that worked: only Linux has priorities by thread.
pub(crate) fn lower_thread() -> bool {
    let thread = std::fs::read_link("/proc/thread-self").ok();
    let id = thread.as_deref().and_then(|path| path.file_name()?.to_str());
    id.is_some_and(renice)
}

/// The same for the process, on its first thread and before it has any other.
pub(crate) fn lower_process() -> bool {
    renice(&std::process::id().to_string())
}

fn renice(id: &str) -> bool {
    let renice = Command::new("renice")
        .args(["-n", NICENESS, "-p", id])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    renice.is_ok_and(|status| status.success())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    /// The niceness of this thread: the 19th field, the 17th behind the name in parentheses.
    fn niceness() -> String {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').nth(16).unwrap().to_owned()
    }

    #[test]
    fn a_thread_and_those_that_it_starts_step_back_and_no_others() {
        let before = niceness();
        let lowered = std::thread::spawn(|| {
            assert!(super::lower_thread());
            (niceness(), std::thread::spawn(niceness).join().unwrap())
        });
        assert_eq!(lowered.join().unwrap(), ("19".to_owned(), "19".to_owned()));
        assert_eq!(niceness(), before);
    }
}
