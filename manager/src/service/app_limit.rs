//! How much one app may publish. An app's owner is trusted with its content, not with the whole machine: all sources of all
//! apps are held in memory, and a change costs in proportion to the app that it is made in.

use picloud_shared::id::AppId;
use picloud_shared::script::ScriptSource;

use crate::repo::{apps, domains, routes, scripts, triggers};
use crate::service::error::ServiceError;
use crate::store::Conn;

/// Something that an app may have so much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AppLimit {
    /// A change of a script looks at the names and imports of all others.
    Scripts,
    /// 16 MiB: 128 sources of the longest kind, or 1,000 of 16 KiB.
    SourceBytes,
    /// A change of a route arranges all of its app's anew.
    Routes,
    /// Each change of one reads them all anew, and what happens in the app is held against each.
    Triggers,
    /// Addresses that lead to the app for ever; nobody has renamed an app a hundred times by hand.
    FormerSlugs,
    /// Each claim wants a certificate, of which an authority gives out a few hundred a week.
    Domains,
}

impl AppLimit {
    /// The stable word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Scripts => "scripts",
            Self::SourceBytes => "source_bytes",
            Self::Routes => "routes",
            Self::Triggers => "triggers",
            Self::FormerSlugs => "former_slugs",
            Self::Domains => "domains",
        }
    }

    /// The most that an app may have.
    pub(crate) const fn ceiling(self) -> u64 {
        match self {
            Self::Scripts => 1_000,
            Self::SourceBytes => 16 * 1024 * 1024,
            Self::Routes => 10_000,
            Self::Triggers | Self::FormerSlugs => 100,
            Self::Domains => 1_000,
        }
    }

    /// The field of a request that asks for more.
    pub(crate) const fn field(self) -> &'static str {
        match self {
            Self::Scripts => "name",
            Self::SourceBytes => "source",
            Self::Routes => "path",
            Self::Triggers => "source",
            Self::FormerSlugs => "slug",
            Self::Domains => "pattern",
        }
    }

    pub(crate) fn admit(self, count: u64) -> Result<(), ServiceError> {
        if count <= self.ceiling() { Ok(()) } else { Err(ServiceError::AppLimit(self)) }
    }
}

/// Refuses one script more, of that source, where the app is full.
pub(crate) async fn admit_script(conn: &mut Conn, app: AppId, source: &ScriptSource) -> Result<(), ServiceError> {
    let held = scripts::holdings(conn, app).await?;
    AppLimit::Scripts.admit(held.scripts + 1)?;
    AppLimit::SourceBytes.admit(held.source_bytes + bytes(source))
}

/// Refuses a longer source in the place of another where the app is full.
pub(crate) async fn admit_source(
    conn: &mut Conn,
    app: AppId,
    old: &ScriptSource,
    new: &ScriptSource,
) -> Result<(), ServiceError> {
    if bytes(new) <= bytes(old) {
        return Ok(());
    }
    let held = scripts::holdings(conn, app).await?;
    AppLimit::SourceBytes.admit((held.source_bytes + bytes(new)).saturating_sub(bytes(old)))
}

/// Refuses one route more where the app is full.
pub(crate) async fn admit_route(conn: &mut Conn, app: AppId) -> Result<(), ServiceError> {
    AppLimit::Routes.admit(routes::count(conn, app).await? + 1)
}

/// Refuses one trigger more where the app is full.
pub(crate) async fn admit_trigger(conn: &mut Conn, app: AppId) -> Result<(), ServiceError> {
    AppLimit::Triggers.admit(triggers::count(conn, app).await? + 1)
}

/// Refuses one former slug more where the app has enough of them.
pub(crate) async fn admit_former_slug(conn: &mut Conn, app: AppId) -> Result<(), ServiceError> {
    AppLimit::FormerSlugs.admit(apps::count_historical_slugs(conn, app).await? + 1)
}

/// Refuses one claim more where the app is full.
pub(crate) async fn admit_domain(conn: &mut Conn, app: AppId) -> Result<(), ServiceError> {
    AppLimit::Domains.admit(domains::count(conn, app).await? + 1)
}

fn bytes(source: &ScriptSource) -> u64 {
    source.as_str().len() as u64
}
