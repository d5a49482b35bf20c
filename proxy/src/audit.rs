//! `picloud audit`: the audit log, on the store directly.

use picloud_manager::audit_chain::AuditChain;
use picloud_manager::secret::key_file::SecretKey;
use picloud_manager::store::Store;

use crate::cli::AuditCommand;
use crate::config::Config;
use crate::remote::output::say;

/// Does what the command says.
pub async fn run(command: AuditCommand, config: &Config) -> anyhow::Result<()> {
    let AuditCommand::Verify { holds } = command;
    let store = Store::open_existing(&config.database).await?;
    let done = verify(config, &store, holds.as_deref()).await;
    store.close().await;
    done
}

async fn verify(config: &Config, store: &Store, holds: Option<&str>) -> anyhow::Result<()> {
    let key = SecretKey::open(store, &config.secret_key_file).await?;
    let verified = AuditChain::new(&key).verify(store, holds).await?;
    Ok(say(&format!("the audit log is whole: {} rows, the end is {}", verified.rows, verified.end))?)
}
