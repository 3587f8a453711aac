//! Runs what the documents show: every command, in order, in a folder of its own, and holds its
//! output against the lines that stand below it.
//!
//! - A line `$ COMMAND` in a `console` or `sh` block is run; lines below it must be in its output,
//!   in that order. `...` stands for anything. `# exit code N` behind it says that it fails.
//! - `COMMAND &` goes on in the background until `$ kill %1` or the document ends; it serves on a
//!   free port in place of 127.0.0.1:7373.
//! - A block with `file=PATH` behind its language is written there first. A YAML block that begins
//!   with `name:` is a pipeline, which must pass `syncline check`.
//!
//! What takes minutes or the network is looked up instead of run: see [`is_looked_up`].

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use tempfile::TempDir;

const BIN: &str = env!("CARGO_BIN_EXE_syncline");
/// Where documents say that a pipeline listens.
const LISTEN: &str = "127.0.0.1:7373";
/// How long a command may take that takes a moment.
const PATIENCE_S: &str = "120";

#[test]
fn every_command_in_the_documents_works() {
    let documents = documents();
    let ran: usize = std::thread::scope(|scope| {
        let runs: Vec<_> = documents.iter().map(|path| scope.spawn(move || run(path))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).sum()
    });
    assert!(ran > 20, "only {ran} commands were found: is the format of the documents another?");
}

#[test]
fn links_lead_somewhere() {
    for path in documents() {
        let text = std::fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|after| after.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let is_there =
                link.starts_with("https://") || path.parent().unwrap().join(file).exists();
            assert!(is_there, "{}: {link} leads nowhere", path.display());
        }
    }
}

fn documents() -> Vec<PathBuf> {
    let root = repository();
    let names = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    let docs = root.join("docs").read_dir().unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    names.iter().map(|name| root.join(name)).chain(docs).collect()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Runs a document; how many commands it has.
fn run(path: &Path) -> usize {
    let text = std::fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let mut desk = Desk::new();
    let mut commands = 0;
    for block in blocks(&text) {
        let place = format!("{name}:{}", block.line);
        if let Some(file) = block.file {
            desk.write(file, &block.lines.join("\n"));
        }
        match block.language {
            "console" | "sh" => {
                for step in steps(&block) {
                    commands += 1;
                    desk.step(&format!("{name}:{}", step.line), &step);
                }
            }
            "yaml" if block.lines.first().is_some_and(|line| line.starts_with("name:")) => {
                check_pipeline(&place, &block.lines.join("\n"));
            }
            _ => {}
        }
    }
    commands
}

/// A fenced block.
struct Block<'a> {
    /// Where its first line stands, from 1.
    line: usize,
    language: &'a str,
    file: Option<&'a str>,
    lines: Vec<&'a str>,
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else { continue };
        // A block within a list is indented with it.
        let indent = &line[..line.len() - line.trim_start().len()];
        let mut words = info.split_whitespace();
        let language = words.next().unwrap_or_default();
        let file = words.find_map(|word| word.strip_prefix("file="));
        let inner = lines.by_ref().map(|(_, line)| line.strip_prefix(indent).unwrap_or(line));
        let inner = inner.take_while(|line| *line != "```").collect();
        blocks.push(Block { line: number + 2, language, file, lines: inner });
    }
    blocks
}

/// A command and what it should print.
struct Step<'a> {
    line: usize,
    command: &'a str,
    expected: Vec<&'a str>,
}

fn steps<'a>(block: &Block<'a>) -> Vec<Step<'a>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    for (i, line) in block.lines.iter().enumerate() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => {
                steps.push(Step { line: block.line + i, command, expected: vec![] });
            }
            (None, Some(step)) if !matches!(line.trim(), "" | "...") => step.expected.push(line),
            (None, _) => {}
        }
    }
    steps
}

/// Where a document's commands are run, one after the other.
struct Desk {
    root: TempDir,
    /// The folder that the last command left off in.
    cwd: PathBuf,
    background: Option<Background>,
}

/// A pipeline that goes on while other commands are run.
struct Background {
    child: Child,
    address: String,
    /// Kept open, so that it can go on saying things.
    stderr: BufReader<ChildStderr>,
}

impl Desk {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let cwd = root.path().to_owned();
        Self { root, cwd, background: None }
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.root.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{text}\n")).unwrap();
    }

    fn step(&mut self, place: &str, step: &Step<'_>) {
        if is_looked_up(place, step.command) {
            return;
        }
        if let Some(command) = step.command.strip_suffix(" &") {
            self.start(place, command);
        } else if step.command == "kill %1" {
            self.stop(place);
        } else {
            self.run(place, step);
        }
    }

    fn run(&mut self, place: &str, step: &Step<'_>) {
        let cwd_file = self.root.path().join(".cwd");
        let command = self.local(step.command);
        let script =
            format!("{{ {command}\n}} 2>&1; code=$?; pwd >'{}'; exit $code", cwd_file.display());
        let output = self.shell(&["timeout", PATIENCE_S, "bash"], &script).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let expected =
            step.command.rsplit_once("# exit code ").map_or(0, |(_, n)| n.parse().unwrap());
        assert_eq!(output.status.code(), Some(expected), "{place}: {command}\n{said}");
        self.cwd = PathBuf::from(std::fs::read_to_string(cwd_file).unwrap().trim_end());
        let mut rest = said.lines();
        for line in &step.expected {
            let line = self.local(line);
            let found = rest.any(|printed| holds(printed, &line));
            assert!(found, "{place}: {command}\ndoes not print (there)\n{line}\nbut\n{said}");
        }
    }

    fn start(&mut self, place: &str, command: &str) {
        let script = format!("exec {command} --listen 127.0.0.1:0");
        let mut shell = self.shell(&["bash"], &script);
        let mut child = shell.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("http://") {
            assert!(stderr.read_line(&mut said).unwrap() > 0, "{place}: {command} ended: {said}");
        }
        let address = said.rsplit_once("http://").unwrap().1.trim().trim_end_matches('/');
        self.background = Some(Background { child, address: address.to_owned(), stderr });
    }

    /// Asks what runs in the background to stop, as a service manager does.
    fn stop(&mut self, place: &str) {
        let mut background = self.background.take().unwrap();
        let pid = background.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        let mut said = String::new();
        background.stderr.read_to_string(&mut said).unwrap();
        assert!(background.child.wait().unwrap().success(), "{place}: {said}");
    }

    fn shell(&self, words: &[&str], script: &str) -> Command {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let own = Path::new(BIN).parent().unwrap().to_owned();
        let paths = std::iter::once(own).chain(std::env::split_paths(&paths));
        let mut shell = Command::new(words[0]);
        shell.args(&words[1..]).args(["-c", script]).current_dir(&self.cwd).stdin(Stdio::null());
        shell.env("PATH", std::env::join_paths(paths).unwrap());
        shell.env_remove("COLUMNS").env_remove("SYNCLINE_LOG").env("NO_PROXY", "127.0.0.1");
        // No key of whoever runs the tests, and none for them.
        let settings = self.root.path().join(".config");
        shell.env_remove("SYNCLINE_KEY").env("XDG_CONFIG_HOME", settings);
        shell
    }

    /// What is written for the port of the documents, for the port that it is here.
    fn local(&self, text: &str) -> String {
        match &self.background {
            Some(background) => text.replace(LISTEN, &background.address),
            None => text.to_owned(),
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // Nothing stays behind when a document ends, or fails.
        if let Some(mut background) = self.background.take() {
            let _ = background.child.kill();
            let _ = background.child.wait();
        }
    }
}

/// Whether `printed` holds `line`, of which `...` may be anything.
fn holds(printed: &str, line: &str) -> bool {
    let mut rest = printed;
    line.trim().split("...").all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

fn check_pipeline(place: &str, text: &str) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("syncline.yaml"), text).unwrap();
    let output = Command::new(BIN).arg("check").current_dir(dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{place}: {said}");
}

/// Commands that build, that need the network, or that do not end: what they name is looked up.
fn is_looked_up(place: &str, command: &str) -> bool {
    let root = repository();
    let words: Vec<&str> = command.split_whitespace().collect();
    match words.as_slice() {
        ["make", targets @ ..] => {
            let makefile = std::fs::read_to_string(root.join("Makefile")).unwrap();
            for target in targets.iter().take_while(|word| **word != "#") {
                let is_there = makefile.lines().any(|l| l.starts_with(&format!("{target}:")));
                assert!(is_there || target.contains('='), "{place}: no target `{target}`");
            }
            true
        }
        ["cargo", arguments @ ..] => {
            if let Some((_, own)) = command.split_once(" -- ")
                && arguments[0] == "run"
            {
                check_arguments(place, own);
            }
            let mut pairs = arguments.windows(2);
            if let Some([_, package]) = pairs.find(|pair| matches!(pair[0], "-p" | "--path")) {
                let folder = package.trim_start_matches("crates/").trim_start_matches("syncline-");
                assert!(root.join("crates").join(folder).is_dir(), "{place}: no {package}");
            }
            true
        }
        ["syncline", "demo", arguments @ ..] if !arguments.contains(&"--once") => {
            check_arguments(place, command.trim_start_matches("syncline "));
            true
        }
        _ => false,
    }
}

/// Whether the binary would take these arguments: it complains about wrong ones before it gives help.
fn check_arguments(place: &str, arguments: &str) {
    let mut command = Command::new(BIN);
    command.args(arguments.split_whitespace().take_while(|word| *word != "#")).arg("--help");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{place}: syncline {arguments}\n{said}");
}

#[test]
fn lines_are_found_in_output() {
    assert!(holds(
        "12:00  INFO lock: wrote /tmp/x/syncline.lock",
        "INFO lock: wrote ...syncline.lock"
    ));
    assert!(holds("anything", "..."));
    assert!(!holds("b then a", "a...b"));
}
