//! An app's secrets as they are published: opened, or known not to open.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::name::SettingName;
use crate::secret::SecretValue;

/// A secret of the snapshot.
#[derive(Clone)]
pub struct PublishedSecret {
    /// Drawn at each setting. Of the same one the value is the same, and need not be opened again.
    pub revision: i64,
    /// The value; nothing where it does not open.
    pub value: Option<Arc<SecretValue>>,
}

/// An app's secrets by name. Clones are the same.
#[derive(Clone, Default)]
pub struct PublishedSecrets(Arc<HashMap<SettingName, PublishedSecret>>);

impl PublishedSecrets {
    /// The secret of that name, with the name.
    pub fn get(&self, name: &str) -> Option<(&SettingName, &PublishedSecret)> {
        self.0.get_key_value(name)
    }
}

impl FromIterator<(SettingName, PublishedSecret)> for PublishedSecrets {
    fn from_iter<I: IntoIterator<Item = (SettingName, PublishedSecret)>>(secrets: I) -> Self {
        Self(Arc::new(secrets.into_iter().collect()))
    }
}

/// The names alone.
impl fmt::Debug for PublishedSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_shown_by_their_names_alone() {
        let value = SecretValue::try_from("hunter2".to_owned()).ok().map(Arc::new);
        let secrets: PublishedSecrets =
            [("KEY".parse().unwrap(), PublishedSecret { revision: 1, value })].into_iter().collect();
        assert_eq!(format!("{secrets:?}"), "{\"KEY\"}");
        assert!(secrets.get("KEY").is_some() && secrets.get("key").is_none());
    }
}
