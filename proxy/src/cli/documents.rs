//! What the program prints of its own command line, for shells and for the manual. It reads no settings and asks nobody.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use clap_complete::Shell;

use super::Cli;
use crate::remote::output;

/// What to print of the command line.
#[derive(Debug, Subcommand)]
pub enum DocumentCommand {
    /// Print what a shell completes the commands by
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the page of the manual
    Man {
        /// Write this page and one for each command into a directory that is there
        dir: Option<PathBuf>,
    },
}

/// Prints it.
///
/// # Errors
/// Nobody takes it.
pub fn print(command: DocumentCommand) -> anyhow::Result<()> {
    let mut page = Vec::new();
    match command {
        // As one piece: the generator breaks down where a pipe does.
        DocumentCommand::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::whole(), "picloud", &mut page)
        }
        DocumentCommand::Man { dir: None } => clap_mangen::Man::new(Cli::whole()).render(&mut page)?,
        DocumentCommand::Man { dir: Some(dir) } => {
            clap_mangen::generate_to(Cli::whole(), &dir)
                .with_context(|| format!("cannot write to {}", dir.display()))?;
        }
    }
    Ok(output::print(&page)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_completed_and_has_its_page_of_the_manual() {
        let dir = tempfile::tempdir().unwrap();
        print(DocumentCommand::Man { dir: Some(dir.path().to_owned()) }).unwrap();
        let whole = Cli::whole();
        let names: Vec<&str> = whole.get_subcommands().map(clap::Command::get_name).collect();
        assert!(names.contains(&"serve") && names.contains(&"apps") && names.contains(&"man"), "{names:?}");
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::whole(), "picloud", &mut script);
            let script = String::from_utf8(script).unwrap();
            let missing: Vec<_> = names.iter().filter(|name| !script.contains(**name)).collect();
            assert_eq!(missing, Vec::<&&str>::new(), "{shell}");
        }
        let page = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        for name in names {
            assert!(page(&format!("picloud-{name}.1")).contains(".TH picloud-"), "{name}");
        }
        assert!(page("picloud.1").contains("picloud\\-serve(1)"), "{}", page("picloud.1"));
    }
}
