//! Disks that refuse: full, denied, read-only, in use. The pipeline says so, waits or ends, and goes
//! on when the disk is mended.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::folder::Folder;
use crate::live::{PIPELINE, Running, eventually, totals};

/// The user and group that own nothing.
const NOBODY: u32 = 65_534;

/// Rows of which the journal takes some megabytes.
const MANY: u64 = 200_000;

/// A small file system of its own.
struct Small(PathBuf);

impl Small {
    /// `None`, and a notice, where this user cannot mount one.
    fn mount(path: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir(&path).unwrap();
        let options = format!("size={size}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        if !mounted {
            skipped("a full and a read-only disk", "a tmpfs cannot be mounted by this user");
        }
        mounted.then_some(Self(path))
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap();
        assert!(status.success(), "mount -o {options}");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Says so on the terminal itself, because what a test that passes prints is not shown.
fn skipped(what: &str, why: &str) {
    let said = format!("\nSKIPPED: {what} is not tried: {why}\n");
    std::io::stderr().write_all(said.as_bytes()).unwrap();
}

fn many_rows() -> Value {
    (0..MANY).map(|id| json!({ "id": id, "value": 1 })).collect()
}

/// Posts more than the disk takes, sees what is said of it, and lets the disk be mended.
fn waits_and_goes_on(folder: &Folder, running: Running, reason: &str, mend: impl FnOnce(&Running)) {
    running.post(&json!({ "id": 1, "value": 100 }));
    std::thread::scope(|scope| {
        let posted = scope.spawn(|| running.post(&many_rows()));
        eventually("it says what it waits for", || {
            let (status, said) = running.ready();
            status == 503 && said.contains("the journal waits") && said.contains(reason)
        });
        assert!(!posted.is_finished(), "rows were accepted that are not durable");
        mend(&running);
        assert_eq!(posted.join().unwrap()["accepted"], MANY);
    });
    eventually("it is ready again", || running.ready().0 == 200);
    running.kill();
    let after = totals(folder);
    assert_eq!(after, format!("{{\"n\":{MANY},\"total\":{MANY}.0}}\n"));
}

#[test]
fn a_full_disk_is_waited_for() {
    let folder = Folder::with_pipeline(PIPELINE);
    let Some(small) = Small::mount(folder.path(".syncline"), "1m") else { return };
    let running = Running::start(&folder);
    waits_and_goes_on(&folder, running, "No space left", |_| small.remount("size=64m"));
}

#[test]
fn a_write_that_the_system_refuses_is_tried_again() {
    let folder = Folder::with_pipeline(PIPELINE);
    let mut limited = folder.command(&["run", "--listen", "127.0.0.1:0"]);
    let run = format!("{} run --listen 127.0.0.1:0", limited.get_program().display());
    // Without the signal a write beyond the limit returns an error.
    let script = format!("trap '' XFSZ; ulimit -S -f 512; exec {run}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).current_dir(limited.get_current_dir().unwrap());
    std::mem::swap(&mut limited, &mut shell);
    let running = Running::start_by(limited);
    waits_and_goes_on(&folder, running, "File too large", |running| {
        let pid = format!("--pid={}", running.pid());
        let status = Command::new("prlimit").args([&pid, "--fsize=unlimited:"]).status();
        assert!(status.unwrap().success());
    });
}

#[test]
fn a_read_only_file_system_is_named() {
    let folder = Folder::with_init();
    let Some(small) = Small::mount(folder.path(".syncline"), "16m") else { return };
    folder.run(&["run", "--once"]).ok();
    let before = folder.read("out/cities.json");
    let journal = files(&folder.path(".syncline"));
    small.remount("ro");
    let complaint = folder.run(&["run", "--once"]).fails(1);
    assert!(complaint.contains("Read-only file system"), "{complaint}");
    assert!(complaint.contains("mount the file system writable"), "{complaint}");
    assert_eq!(files(&folder.path(".syncline")), journal);
    small.remount("rw");
    folder.run(&["run", "--once"]).ok();
    assert_eq!(folder.read("out/cities.json"), before);
}

/// Paths and content of all files.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.clone(), fs::read(path).unwrap()));
        }
    }
    found.sort();
    found
}

/// Makes `command` one that permissions hold for. `false`, and a notice, where that cannot be done.
fn without_privileges(folder: &Folder, command: &mut Command) -> bool {
    let user = Command::new("id").arg("-u").output().unwrap().stdout;
    if user != b"0\n" {
        return true;
    }
    for path in [folder.path("."), folder.path("syncline.yaml")] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    command.uid(NOBODY).gid(NOBODY);
    let mut probe = Command::new(command.get_program());
    let can_run = probe.arg("--version").uid(NOBODY).gid(NOBODY).output().is_ok();
    if !can_run {
        let why = "root may write anywhere, and others cannot run the binary here";
        skipped("a folder that is denied", why);
    }
    can_run
}

#[test]
fn a_folder_that_is_denied_is_waited_for() {
    let folder = Folder::with_pipeline(PIPELINE);
    let mut command = folder.command(&["run", "--listen", "127.0.0.1:0"]);
    if !without_privileges(&folder, &mut command) {
        return;
    }
    let running = Running::start_by(command);
    let sinks = folder.path(".syncline/sinks");
    let permit = |mode| fs::set_permissions(&sinks, Permissions::from_mode(mode)).unwrap();
    permit(0o555);
    running.post(&json!({ "id": 1, "value": 100 }));
    eventually("it says what it waits for", || {
        let (status, said) = running.ready();
        status == 503 && said.contains("sink `out`") && said.contains("Permission denied")
    });
    // The others go on.
    running.post(&json!({ "id": 2, "value": 200 }));
    eventually("both are in the view", || totals(&folder).contains("\"n\":2"));
    permit(0o755);
    eventually("it is ready again", || running.ready().0 == 200);
    eventually("the sink has both", || folder.read("large.json").lines().count() == 2);
    running.stop();

    permit(0o000);
    let mut command = folder.command(&["run", "--once"]);
    assert!(without_privileges(&folder, &mut command));
    let output = command.output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    permit(0o755);
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains(".syncline/sinks"), "{complaint}");
    assert!(complaint.contains("check the owner and the permissions"), "{complaint}");
}

#[test]
fn a_second_process_is_told_who_holds_the_directory() {
    let folder = Folder::with_pipeline(PIPELINE);
    let running = Running::start(&folder);
    let complaint = folder.run(&["run", "--listen", "127.0.0.1:0"]).fails(1);
    let who = format!("process {} holds it and listens on {}", running.pid(), running.address);
    assert!(complaint.contains("is in use") && complaint.contains(&who), "{complaint}");
    assert!(complaint.contains("--data-dir"), "{complaint}");
    // The first one has not noticed.
    running.post(&json!({ "id": 1, "value": 1 }));
    running.stop();
    folder.run(&["run", "--once", "--no-listen"]).ok();
}
