//! `tidemill completions SHELL`: what has a shell complete this command.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::{Shell, generate};

use crate::error::Result;

/// What the user says.
#[derive(Debug, Args)]
pub(super) struct CompletionsArguments {
    /// The shell.
    shell: ShellName,
}

/// The shells that are known to take it.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ShellName {
    /// source <(tidemill completions bash), in ~/.bashrc
    Bash,
    /// tidemill completions zsh > ~/.zfunc/_tidemill, a folder of fpath
    Zsh,
    /// tidemill completions fish > ~/.config/fish/completions/tidemill.fish
    Fish,
}

pub(super) fn run(arguments: &CompletionsArguments) -> Result<ExitCode> {
    let shell = match arguments.shell {
        ShellName::Bash => Shell::Bash,
        ShellName::Zsh => Shell::Zsh,
        ShellName::Fish => Shell::Fish,
    };
    let mut command = super::Arguments::command();
    let name = command.get_name().to_owned();
    // It panics where it cannot write.
    let mut script = Vec::new();
    generate(shell, &mut command, name, &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
