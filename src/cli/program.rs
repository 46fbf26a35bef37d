//! `grantlog completions`, `man` and `version`: the program about itself.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde_json::json;

use super::Cli;
use super::exit::Failure;
use super::output::Output;

/// Prints a completion script.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell that reads it
    shell: Shell,
}

/// Writes the manual pages.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder they are written to, one a command; without it the first page is printed
    dir: Option<PathBuf>,
}

/// Prints a completion script.
///
/// # Errors
/// The output cannot be written.
pub fn completions(args: &CompletionsArgs, output: &mut Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "grantlog", &mut script);
    Ok(output.raw(&script)?)
}

/// Writes the manual pages.
///
/// # Errors
/// They cannot be written.
pub fn man(args: &ManArgs, output: &mut Output) -> Result<(), Failure> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        return Ok(output.raw(&page)?);
    };
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Cli::command(), dir)?;
    let dir = dir.display().to_string();
    let sentence = format!("wrote the manual pages to {dir}");
    Ok(output.result(&sentence, &json!({ "written": dir }))?)
}

/// Prints the version.
///
/// # Errors
/// The output cannot be written.
pub fn version(output: &mut Output) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let document = json!({
        "name": "grantlog",
        "version": version,
        "sqlite": rusqlite::version(),
        "target": format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
    });
    Ok(output.result(&format!("grantlog {version}"), &document)?)
}
