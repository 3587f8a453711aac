//! What `--help` says, so that nobody changes it unawares.

use crate::folder::Folder;

#[test]
fn help_of_every_command() {
    let commands: [&[&str]; 17] = [
        &[],
        &["demo"],
        &["init"],
        &["check"],
        &["plan"],
        &["run"],
        &["test"],
        &["query"],
        &["tap"],
        &["dlq"],
        &["dlq", "ls"],
        &["dlq", "show"],
        &["dlq", "retry"],
        &["dlq", "drop"],
        &["schema"],
        &["bench"],
        &["bench", "nexmark"],
    ];
    let folder = Folder::new();
    for command in commands {
        let arguments = [command, &["--help"]].concat();
        let help = folder.run(&arguments).ok();
        let name = if command.is_empty() { "syncline".to_owned() } else { command.join("_") };
        insta::assert_snapshot!(name, help);
    }
}

#[test]
fn every_command_has_help_that_is_looked_at() {
    let folder = Folder::new();
    let help = folder.run(&["--help"]).ok();
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = listed.take_while(|line| !line.is_empty());
    let snapshots = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/snapshots");
    for name in names.filter_map(|line| line.split_whitespace().next()) {
        let snapshot = format!("{snapshots}/it__help__{name}.snap");
        assert!(name == "help" || std::path::Path::new(&snapshot).exists(), "no test for {name}");
    }
}
