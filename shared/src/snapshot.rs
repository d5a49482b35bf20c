//! The immutable picture of everything the data plane needs, and the cell that it is swapped in.
//!
//! A snapshot is never changed: a change of one app makes a new snapshot that shares all other apps with the old.

mod published_app;
mod published_script;
mod published_secrets;

use std::sync::Arc;

use arc_swap::ArcSwap;
use rpds::HashTrieMapSync;

use crate::domain_pattern::{DomainPattern, Host};
use crate::hashing::FastHash;
use crate::id::{AppId, ScriptId};
use crate::request::Params;

pub use published_app::{AppChanges, EnvByName, Now, PublishedApp};
pub use published_script::{ProgramKey, PublishedScript, ScriptRow};
pub use published_secrets::{PublishedSecret, PublishedSecrets};

type Map<K, V> = HashTrieMapSync<K, V, FastHash>;

/// A claim as the host table holds it.
#[derive(Debug, Clone)]
struct Claim {
    app: Arc<PublishedApp>,
    label: Option<Arc<str>>,
}

/// An app found by host.
#[derive(Debug)]
pub struct HostMatch<'s> {
    /// The app that claims the host.
    pub app: &'s Arc<PublishedApp>,
    /// The label that a named wildcard bound.
    pub host_params: Params,
}

/// The immutable picture that requests are answered from.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    version: u64,
    apps: Map<AppId, Arc<PublishedApp>>,
    exact: Map<Box<str>, Claim>,
    wildcards: Map<Box<str>, Claim>,
    scripts: Map<ScriptId, AppId>,
}

impl Snapshot {
    /// The number of the last change that this snapshot holds.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The app of that id.
    pub fn app(&self, id: AppId) -> Option<&Arc<PublishedApp>> {
        self.apps.get(&id)
    }

    /// All apps.
    pub fn apps(&self) -> impl Iterator<Item = &Arc<PublishedApp>> {
        self.apps.values()
    }

    /// The script of that id with its app.
    pub fn script(&self, id: ScriptId) -> Option<(&Arc<PublishedApp>, &Arc<PublishedScript>)> {
        let app = self.apps.get(self.scripts.get(&id)?)?;
        Some((app, app.script(id)?))
    }

    /// The app that claims a host: the exact claim first, then the wildcard of its parent.
    pub fn find_host(&self, host: &Host<'_>) -> Option<HostMatch<'_>> {
        if let Some(claim) = self.exact.get(host.as_str()) {
            return Some(HostMatch { app: &claim.app, host_params: Params::new() });
        }
        let (first, parent) = host.split_first_label()?;
        let claim = self.wildcards.get(parent)?;
        let host_params = claim.label.iter().map(|label| (Arc::clone(label), first.into())).collect();
        Some(HostMatch { app: &claim.app, host_params })
    }

    /// A snapshot in which these apps stand as given (`None`: the app is gone) and all others as here.
    pub fn with_apps(
        &self,
        version: u64,
        changes: impl IntoIterator<Item = (AppId, Option<Arc<PublishedApp>>)>,
    ) -> Self {
        let mut next = Self { version, ..self.clone() };
        let changes: Vec<_> = changes.into_iter().collect();
        // All removals come first, so that what moves from one app to another arrives whichever is named first.
        for (id, now) in &changes {
            next.remove(*id, now.as_deref());
        }
        for app in changes.into_iter().filter_map(|(_, app)| app) {
            next.insert(app);
        }
        next
    }

    /// Removes an app, but for the scripts that it has afterwards as well.
    fn remove(&mut self, id: AppId, now: Option<&PublishedApp>) {
        let Some(old) = self.apps.get(&id).cloned() else {
            return;
        };
        self.apps.remove_mut(&id);
        for claim in old.claims() {
            let (table, key) = self.table_of(claim);
            // A claim that moved on in an earlier change is the other app's by now.
            if table.get(key).is_some_and(|held| held.app.app().id == id) {
                table.remove_mut(key);
            }
        }
        for script in old.scripts().map(|script| script.row.id) {
            if now.is_none_or(|now| now.script(script).is_none()) {
                self.scripts.remove_mut(&script);
            }
        }
    }

    fn insert(&mut self, app: Arc<PublishedApp>) {
        for pattern in app.claims() {
            let label = match pattern {
                DomainPattern::Wildcard { label, .. } => label.as_deref().map(Arc::from),
                DomainPattern::Exact(_) => None,
            };
            let (table, key) = self.table_of(pattern);
            table.insert_mut(key.into(), Claim { app: Arc::clone(&app), label });
        }
        for script in app.scripts().map(|script| script.row.id) {
            if self.scripts.get(&script) != Some(&app.app().id) {
                self.scripts.insert_mut(script, app.app().id);
            }
        }
        self.apps.insert_mut(app.app().id, app);
    }

    fn table_of<'p>(&mut self, pattern: &'p DomainPattern) -> (&mut Map<Box<str>, Claim>, &'p str) {
        match pattern {
            DomainPattern::Exact(host) => (&mut self.exact, host.as_str()),
            DomainPattern::Wildcard { parent, .. } => (&mut self.wildcards, parent.as_str()),
        }
    }
}

/// Where the current snapshot stands. A request loads it once and keeps what it loaded.
#[derive(Debug, Default)]
pub struct SnapshotCell(ArcSwap<Snapshot>);

impl SnapshotCell {
    /// The current snapshot, without taking a share of it; for short look-ups.
    pub fn load(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.0.load()
    }

    /// The current snapshot.
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Puts a newer snapshot in its place. Only the publisher does this.
    pub fn store(&self, snapshot: Arc<Snapshot>) {
        self.0.store(snapshot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::App;
    use crate::path_pattern::RequestPath;
    use crate::routing::{Dispatch, dispatch};
    use uuid::Uuid;

    fn id(number: u128) -> AppId {
        AppId::from_uuid(Uuid::from_u128(number))
    }

    fn app(number: u128, claims: &[&str]) -> Arc<PublishedApp> {
        let app = App { id: id(number), slug: format!("app-{number}").parse().unwrap() };
        let claims = claims.iter().map(|claim| claim.parse().unwrap()).collect();
        let script = published_script::tests::module(number, "m", &[]);
        Arc::new(PublishedApp::new(app, claims, vec![script], Vec::new()).0)
    }

    fn change(number: u128, claims: &[&str]) -> (AppId, Option<Arc<PublishedApp>>) {
        (id(number), Some(app(number, claims)))
    }

    /// The app that a host leads to, with the host's parameters.
    fn owner(snapshot: &Snapshot, host: &str) -> Option<(AppId, Vec<(String, String)>)> {
        let host = Host::parse_authority(host).unwrap();
        let found = snapshot.find_host(&host)?;
        let params = found.host_params.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Some((found.app.app().id, params))
    }

    fn owner_id(snapshot: &Snapshot, host: &str) -> Option<AppId> {
        owner(snapshot, host).map(|(id, _)| id)
    }

    #[test]
    fn exact_claim_wins_over_wildcard_of_its_parent() {
        let snapshot = Snapshot::default()
            .with_apps(1, [change(1, &["*.example.com", "example.com"]), change(2, &["shop.example.com"])]);
        for (host, expected) in [
            ("shop.example.com", Some(id(2))),
            ("SHOP.example.com.:8080", Some(id(2))),
            ("blog.example.com", Some(id(1))),
            ("example.com", Some(id(1))),
            ("a.shop.example.com", None),
            ("a.blog.example.com", None),
            ("com", None),
            ("127.0.0.1", None),
        ] {
            assert_eq!(owner_id(&snapshot, host), expected, "{host}");
        }
    }

    #[test]
    fn named_wildcard_tells_the_label_that_it_bound() {
        let snapshot = Snapshot::default().with_apps(1, [change(1, &["{tenant}.example.com", "*.example.org"])]);
        let params = vec![("tenant".to_owned(), "acme".to_owned())];
        assert_eq!(owner(&snapshot, "ACME.example.com"), Some((id(1), params)));
        assert_eq!(owner(&snapshot, "acme.example.org"), Some((id(1), Vec::new())));
    }

    #[test]
    fn claims_move_between_apps_in_one_change_in_either_order() {
        let before = Snapshot::default().with_apps(1, [change(1, &["a.x", "*.y"]), change(2, &["b.x"])]);
        let swap = [change(1, &["b.x"]), change(2, &["a.x", "{label}.y"])];
        for changes in [swap.clone(), [swap[1].clone(), swap[0].clone()]] {
            let after = before.with_apps(2, changes);
            assert_eq!(owner_id(&after, "a.x"), Some(id(2)));
            assert_eq!(owner_id(&after, "b.x"), Some(id(1)));
            assert_eq!(owner(&after, "h.y"), Some((id(2), vec![("label".to_owned(), "h".to_owned())])));
        }
    }

    #[test]
    fn claim_moves_from_an_app_that_goes_in_the_same_change() {
        let before = Snapshot::default().with_apps(1, [change(1, &["a.x"])]);
        for changes in [[(id(1), None), change(2, &["a.x"])], [change(2, &["a.x"]), (id(1), None)]] {
            assert_eq!(owner_id(&before.with_apps(2, changes), "a.x"), Some(id(2)));
        }
    }

    #[test]
    fn claim_stays_with_its_new_app_when_the_old_one_is_published_late() {
        let taken = Snapshot::default().with_apps(1, [change(1, &["a.x"])]).with_apps(2, [change(2, &["a.x"])]);
        assert_eq!(owner_id(&taken.with_apps(3, [change(1, &[])]), "a.x"), Some(id(2)));
    }

    #[test]
    fn removing_an_app_removes_its_hosts_and_scripts() {
        let before = Snapshot::default().with_apps(1, [change(1, &["a.x", "*.y"]), change(2, &["b.x"])]);
        let script = |number| ScriptId::from_uuid(Uuid::from_u128(number));
        assert!(before.script(script(1)).is_some());
        let after = before.with_apps(2, [(id(1), None)]);
        assert_eq!((owner_id(&after, "a.x"), owner_id(&after, "h.y")), (None, None));
        assert!(after.app(id(1)).is_none() && after.script(script(1)).is_none());
        assert_eq!(owner_id(&after, "b.x"), Some(id(2)));
        assert_eq!(after.script(script(2)).map(|(app, _)| app.app().id), Some(id(2)));
        assert_eq!((after.version(), after.apps().count()), (2, 1));
    }

    #[test]
    fn claim_that_an_app_gave_up_is_unknown_at_once() {
        let before = Snapshot::default().with_apps(1, [change(1, &["a.x", "b.x"])]);
        let after = before.with_apps(2, [change(1, &["b.x"])]);
        assert_eq!((owner_id(&after, "a.x"), owner_id(&after, "b.x")), (None, Some(id(1))));
        assert_eq!(owner_id(&before, "a.x"), Some(id(1)), "the old snapshot serves its requests to their end");
    }

    #[test]
    fn apps_that_did_not_change_are_shared_with_the_old_snapshot() {
        let before = Snapshot::default().with_apps(1, [change(1, &["a.x"]), change(2, &["b.x"])]);
        let after = before.with_apps(2, [change(1, &["a.x"])]);
        assert!(Arc::ptr_eq(before.app(id(2)).unwrap(), after.app(id(2)).unwrap()));
        assert!(!Arc::ptr_eq(before.app(id(1)).unwrap(), after.app(id(1)).unwrap()));
    }

    #[test]
    fn request_to_a_host_that_nobody_claims_reaches_no_app() {
        let snapshot = Snapshot::default().with_apps(1, [change(1, &["a.x"])]);
        let path = RequestPath::parse("/").unwrap();
        let reached = |host| dispatch(&snapshot, &Host::parse(host).unwrap(), &path, &http::Method::GET);
        assert!(matches!(reached("b.x"), Dispatch::UnknownHost));
        assert!(matches!(reached("a.x"), Dispatch::App { app, .. } if app.app().id == id(1)));
    }

    #[test]
    fn cell_gives_what_was_stored_last_and_keeps_what_was_loaded() {
        let cell = SnapshotCell::default();
        let loaded = cell.load_full();
        cell.store(Arc::new(loaded.with_apps(7, [change(1, &["a.x"])])));
        assert_eq!((loaded.version(), cell.load().version()), (0, 7));
    }
}
