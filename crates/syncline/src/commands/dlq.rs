//! `dlq`: rows that could not be taken. All of it works on the data directory, beside a pipeline
//! that runs or without one.

mod ls;
mod show;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use syncline_change::{Error, Result};
use syncline_pipeline::clock;
use syncline_store::dead_letters::{Filter, RetryRequest, State, request_retry};
use syncline_store::{DataDir, DeadLetter, DeadLetters};

use super::remote::{Presence, Remote, silent};
use super::{Failure, load};
use crate::cli::{Dlq, DlqPlace};
use crate::terminal::{note, say};

pub(super) fn dlq(command: Dlq) -> Result<ExitCode, Failure> {
    match command {
        Dlq::Ls { place, source, class, all, limit, format } => {
            let letters = DeadLetters::open_read(&DataDir::open_read(data_dir(&place)?)?)?;
            let filter = Filter {
                source,
                class: class.as_deref().map(ls::class).transpose()?,
                stage: None,
                state: (!all).then_some(State::Open),
            };
            ls::ls(&letters, &filter, limit, format)?;
        }
        Dlq::Show { id, place, raw } => {
            let letters = DeadLetters::open_read(&DataDir::open_read(data_dir(&place)?)?)?;
            let letter = find(&letters, &id)?;
            if raw { show::raw(&letter) } else { show::show(&letter) }
        }
        Dlq::Retry { ids, place, edit } => retry(&ids, &data_dir(&place)?, edit.as_deref())?,
        Dlq::Drop { ids, place } => drop_letters(&ids, &data_dir(&place)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The pipeline file need not be there if its data directory is named.
fn data_dir(place: &DlqPlace) -> Result<PathBuf, Failure> {
    match &place.data_dir {
        Some(data_dir) => Ok(data_dir.clone()),
        None => Ok(load(place.file.as_deref())?.data_dir()),
    }
}

/// Queues letters to be read again; all ids are looked at before the first of them is.
fn retry(ids: &[String], data_dir: &Path, edit: Option<&Path>) -> Result<(), Failure> {
    let dir = DataDir::open_read(data_dir)?;
    let letters = DeadLetters::open_read(&dir)?;
    let text = match edit {
        None => None,
        Some(_) if ids.len() != 1 => {
            return Err(Error::config("--edit mends one dead letter, so it takes one id")
                .hint("`syncline dlq ls` lists them")
                .into());
        }
        Some(path) => Some(mended(path)?),
    };
    let chosen = if ids.is_empty() { all_open(&letters)? } else { open(&letters, ids)? };
    for letter in &chosen {
        letter.check_retry()?;
    }
    for letter in &chosen {
        request_retry(&dir, &RetryRequest { id: letter.id.clone(), text: text.clone() })?;
    }
    let what = counted(chosen.len());
    match (chosen.len(), Presence::of(data_dir)?) {
        (0, _) => say("there are no open dead letters to retry"),
        (_, Presence::Stopped) => {
            say(format_args!("{what} queued: the next run of the pipeline reads them again"));
        }
        _ => say(format_args!("{what} queued: the running pipeline reads them within a second")),
    }
    Ok(())
}

fn drop_letters(ids: &[String], data_dir: &Path) -> Result<(), Failure> {
    let letters = DeadLetters::open_read(&DataDir::open_read(data_dir)?)?;
    let chosen = open(&letters, ids)?;
    match Presence::of(data_dir)? {
        Presence::Silent { pid } => return Err(silent(pid).into()),
        Presence::Served(remote) => drop_remote(&remote, &chosen)?,
        Presence::Stopped => {
            let dir = DataDir::open(data_dir)?;
            // Which epochs are durable does not matter here: the next run sees to that.
            let (letters, _) = DeadLetters::open(&dir, u64::MAX, u64::MAX)?;
            for letter in &chosen {
                letters.resolve(&letter.id, State::Dropped, clock::wall_us())?;
            }
        }
    }
    say(format_args!("{} dropped", counted(chosen.len())));
    Ok(())
}

fn drop_remote(remote: &Remote, chosen: &[DeadLetter]) -> Result<()> {
    for letter in chosen {
        remote.post(&format!("/api/v1/dead-letters/{}/drop", letter.id), &json!({}))?;
    }
    Ok(())
}

fn find(letters: &DeadLetters, id: &str) -> Result<DeadLetter> {
    letters.get(id).map_err(as_argument)?.ok_or_else(|| {
        Error::config(format!("there is no dead letter {id}"))
            .hint("`syncline dlq ls --all` lists them")
    })
}

/// An id that cannot be one is a mistake of the command line, not of the data.
fn as_argument(error: Error) -> Error {
    if error.kind() != syncline_change::ErrorKind::Input {
        return error;
    }
    let made = Error::config(error.message());
    match error.hint_text() {
        Some(hint) => made.hint(hint),
        None => made,
    }
}

/// The letters with these ids, each once, of which nothing has become yet.
fn open(letters: &DeadLetters, ids: &[String]) -> Result<Vec<DeadLetter>> {
    let mut found: Vec<DeadLetter> = Vec::new();
    for id in ids {
        let letter = find(letters, id)?;
        let became = match letter.state {
            State::Open => None,
            State::Retried => Some("retried"),
            State::Dropped => Some("dropped"),
        };
        if let Some(became) = became {
            return Err(Error::config(format!("dead letter {id} was {became} already"))
                .hint("`syncline dlq ls` lists those that are open"));
        }
        if !found.iter().any(|other| other.id == letter.id) {
            found.push(letter);
        }
    }
    Ok(found)
}

/// Every open letter that can be retried.
fn all_open(letters: &DeadLetters) -> Result<Vec<DeadLetter>> {
    let filter = Filter { state: Some(State::Open), ..Filter::default() };
    let (total, all) = letters.list(&filter, 0, usize::MAX)?;
    let chosen: Vec<_> = all.into_iter().filter(|l| l.check_retry().is_ok()).rev().collect();
    let left = total - chosen.len() as u64;
    if left > 0 {
        note(format_args!("{left} that sinks gave up are left as they are"));
    }
    Ok(chosen)
}

/// The bytes to read in place of those that were rejected.
fn mended(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        let read = std::io::stdin().lock().read_to_end(&mut bytes);
        read.map_err(|error| Error::io("read", "standard input", error))?;
    } else {
        bytes = std::fs::read(path).map_err(|error| Error::io("read", path, error))?;
    }
    if bytes.trim_ascii().is_empty() {
        return Err(Error::config("there is nothing in the mended text")
            .hint("to give a dead letter up, use `syncline dlq drop`"));
    }
    Ok(bytes)
}

fn counted(count: usize) -> String {
    if count == 1 { "1 dead letter".to_owned() } else { format!("{count} dead letters") }
}
