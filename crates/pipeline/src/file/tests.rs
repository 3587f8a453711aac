#![allow(clippy::unwrap_used)]

mod any_text;
mod right;
mod wrong;

use std::collections::HashMap;
use std::path::Path;

use super::*;

/// The example of the documentation, with everything in it.
const EXAMPLE: &str = include_str!("tests/example.yaml");

fn vars(pairs: &[(&str, &str)]) -> Vars {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Vars::only(pairs.collect::<HashMap<_, _>>())
}

fn parse(text: &str, pairs: &[(&str, &str)]) -> Result<Pipeline, LoadError> {
    Pipeline::parse(text, Path::new("base"), &vars(pairs))
}
