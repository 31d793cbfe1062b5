//! `greenroom check`: a report on a data folder, which stays as it is.

use super::CliError;
use super::screen::{note, print};
use crate::boot;
use crate::config::Config;

pub(super) async fn run(config: &Config) -> Result<(), CliError> {
    let path = &config.data.path;
    note(&format!(
        "tools that clients write: {}",
        boot::check_sandbox(config).await
    ));
    let problems = boot::check(path)?;
    for problem in &problems {
        print(&format!("{problem}\n"))?;
    }
    if !problems.is_empty() {
        return Err(CliError::Unsound(path.display().to_string()));
    }
    note(&format!("{} is sound", path.display()));
    Ok(())
}
