//! Searches of people by the API. They are bounded by themselves, since no limits of a script bound them: by time, and by how many run at
//! once, so that they take neither all connections nor the disk from scripts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use picloud_shared::docs::{DocPage, DocQuery};
use picloud_shared::id::AppId;
use tokio::time::timeout_at;

use super::{Docs, search_in_file, search_in_postgres};
use crate::repo::RepoError;
use crate::store::DataPlace;

/// How long a search may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Searches that may run at once on this node, of the data's 16 connections to PostgreSQL.
const AT_ONCE: u32 = 4;

/// Searches that may run at once for one app.
const AT_ONCE_OF_APP: u32 = 2;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SearchRefusal {
    #[error("as many searches run as may at once")]
    Busy,
    #[error("the search took longer than {} s", PATIENCE.as_secs())]
    TooLate,
    #[error(transparent)]
    Store(#[from] RepoError),
}

/// Who searches at the moment.
#[derive(Debug, Clone, Default)]
pub(super) struct SearchPlaces(Arc<Mutex<HashMap<AppId, u32>>>);

/// A search that may run. It ends when this is dropped.
#[doc(hidden)]
#[derive(Debug)]
pub struct SearchPlace {
    places: SearchPlaces,
    app: AppId,
}

impl SearchPlaces {
    fn take(&self, app: AppId) -> Option<SearchPlace> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_app = running.get(&app).copied().unwrap_or(0);
        if of_app >= AT_ONCE_OF_APP || running.values().sum::<u32>() >= AT_ONCE {
            return None;
        }
        running.insert(app, of_app + 1);
        Some(SearchPlace { places: self.clone(), app })
    }
}

impl Drop for SearchPlace {
    fn drop(&mut self) {
        let mut running = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = running.remove(&self.app).map_or(0, |running| running.saturating_sub(1));
        if left > 0 {
            running.insert(self.app, left);
        }
    }
}

impl Docs {
    /// A page of documents.
    pub(crate) async fn search(&self, app: AppId, query: &DocQuery) -> Result<DocPage, SearchRefusal> {
        self.search_within(app, query, PATIENCE).await
    }

    /// A place for a search, taken by a test.
    #[doc(hidden)]
    pub fn search_place(&self, app: AppId) -> Option<SearchPlace> {
        self.places.take(app)
    }

    /// How a search of people ends that may take so long: `None` where it was too late.
    ///
    /// # Errors
    /// A store that fails, or too many searches.
    #[doc(hidden)]
    pub async fn search_for(
        &self,
        app: AppId,
        query: &DocQuery,
        patience: Duration,
    ) -> Result<Option<DocPage>, RepoError> {
        match self.search_within(app, query, patience).await {
            Ok(page) => Ok(Some(page)),
            Err(SearchRefusal::TooLate) => Ok(None),
            Err(SearchRefusal::Store(error)) => Err(error),
            Err(busy @ SearchRefusal::Busy) => Err(RepoError::Failed(busy.into())),
        }
    }

    async fn search_within(&self, app: AppId, query: &DocQuery, patience: Duration) -> Result<DocPage, SearchRefusal> {
        let place = self.places.take(app).ok_or(SearchRefusal::Busy)?;
        let until = Instant::now() + patience;
        // A timer looks at the work before it looks at the time.
        if patience.is_zero() {
            return Err(SearchRefusal::TooLate);
        }
        let found = match self.store.data() {
            DataPlace::File(file) => {
                let query = query.clone();
                let search = move |conn: &_| {
                    // It runs on for a moment where nobody waits for it any more.
                    let _place = place;
                    search_in_file(conn, app, &query, until)
                };
                file.read_aside_until(until, search).await
            }
            DataPlace::Postgres(data) => match timeout_at(until.into(), search_in_postgres(data, app, query)).await {
                Ok(found) => found,
                Err(_) => return Err(SearchRefusal::TooLate),
            },
        };
        found.map_err(|error| if Instant::now() < until { error.into() } else { SearchRefusal::TooLate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picloud_shared::clock::Timestamp;

    #[test]
    fn a_node_and_each_app_search_so_often_at_once() {
        let places = SearchPlaces::default();
        let apps = [1, 2, 3].map(|at| AppId::generate(Timestamp::from_millis(at)));
        let first = places.take(apps[0]).unwrap();
        let _second = places.take(apps[0]).unwrap();
        assert!(places.take(apps[0]).is_none(), "one app");
        let _others = [places.take(apps[1]).unwrap(), places.take(apps[1]).unwrap()];
        assert!(places.take(apps[2]).is_none(), "the node");
        drop(first);
        let third = places.take(apps[2]).unwrap();
        drop(third);
        assert!(places.take(apps[0]).is_some());
        assert_eq!(places.0.lock().unwrap().len(), 2, "nothing is kept of who searches no more");
    }
}
