//! `picloud trust`: the root of the instance's own authority, for devices that are to trust the names of a home network.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use picloud_manager::repo::certificates::accounts;
use picloud_manager::store::Store;

use crate::config::Config;
use crate::remote::output;

/// Where Debian and its kin look for roots of this machine's own.
const INSTALLED: &str = "/usr/local/share/ca-certificates/picloud-root.crt";

/// Prints the root, or has this machine trust it.
pub async fn run(install: bool, config: &Config) -> anyhow::Result<()> {
    let store = Store::open_existing(&config.database).await?;
    let found = async { accounts::internal_authority(&mut store.read().await?).await }.await;
    store.close().await;
    let Some(authority) = found? else {
        bail!("there is no authority of this instance's own yet: it is made for the first name that needs it")
    };
    if !install {
        return Ok(output::print(authority.root.as_bytes())?);
    }
    let path = Path::new(INSTALLED);
    let dir = path.parent().filter(|dir| dir.is_dir());
    ensure!(
        dir.is_some(),
        "this system keeps its roots elsewhere: run `picloud trust > root.crt`, and add that file there"
    );
    std::fs::write(path, authority.root).with_context(|| format!("{INSTALLED}: run it as root"))?;
    let updated = Command::new("update-ca-certificates").status().context("update-ca-certificates cannot be run")?;
    ensure!(updated.success(), "update-ca-certificates failed");
    Ok(output::say("this machine trusts it now; browsers with roots of their own (Firefox) must be told apart")?)
}
