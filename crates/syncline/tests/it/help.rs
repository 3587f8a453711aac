//! What `--help` says, so that nobody changes it unawares.

use crate::folder::Folder;

#[test]
fn help_of_every_command() {
    check_help(&Folder::new(), &[]);
}

/// Looks at the help of a command, then at that of each command below it.
fn check_help(folder: &Folder, command: &[&str]) {
    let help = folder.run(&[command, &["--help"]].concat()).ok();
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    for name in listed.filter_map(|line| line.split_whitespace().next()) {
        if name != "help" {
            check_help(folder, &[command, &[name]].concat());
        }
    }
    insta::assert_snapshot!([&["syncline"], command].concat().join("_"), help);
}
