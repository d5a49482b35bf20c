//! Users, sessions and the set-up token.

use std::time::Duration;

use picloud_manager::repo::role::{AppRole, InstanceRole};
use picloud_manager::repo::sessions::{self, Session, TokenHash};
use picloud_manager::repo::users::{self, PasswordHash, User};
use picloud_manager::repo::{Constraint, RepoError, setup_tokens};
use picloud_shared::id::{SessionId, UserId};

use crate::rows::{NOW, add_user, all as readable, user};
use crate::test_store::{TestStore, on_both};

fn hash(text: &str) -> PasswordHash {
    PasswordHash::from_phc(text.to_owned())
}

fn session(user_id: UserId, token: u8) -> (Session, TokenHash) {
    let session = Session {
        id: SessionId::generate(NOW),
        user_id,
        created_at: NOW,
        expires_at: NOW.plus(Duration::from_secs(60)),
        absolute_expires_at: NOW.plus(Duration::from_secs(600)),
        last_seen_at: NOW,
        remote_ip: Some("2001:db8::1".parse().unwrap()),
        user_agent: Some("curl/8.0".to_owned()),
    };
    (session, TokenHash::new([token; 32]))
}

on_both! {
    async fn a_user_is_read_as_it_was_written(test: TestStore) {
        let ada = user("ada");
        let mut tx = test.store.begin().await.unwrap();
        users::insert(&mut tx, &ada, &hash("one")).await.unwrap();
        tx.commit().await.unwrap();

        let mut conn = test.store.read().await.unwrap();
        assert_eq!(users::find(&mut conn, ada.id).await.unwrap(), Some(ada.clone()));
        let (found, password) = users::find_by_username(&mut conn, &ada.username).await.unwrap().unwrap();
        assert_eq!((found, password.as_phc()), (ada.clone(), "one"));
        assert_eq!(users::find_password(&mut conn, ada.id).await.unwrap().unwrap().as_phc(), "one");
        assert_eq!(users::find(&mut conn, UserId::generate(NOW)).await.unwrap(), None);
        assert!(users::find_by_username(&mut conn, &"bob".parse().unwrap()).await.unwrap().is_none());
    }

    async fn a_username_is_taken_once_and_the_failed_transaction_leaves_nothing(test: TestStore) {
        add_user(&test.store, "ada").await;
        let mut tx = test.store.begin().await.unwrap();
        users::insert(&mut tx, &user("bob"), &hash("x")).await.unwrap();
        let taken = users::insert(&mut tx, &user("ada"), &hash("x")).await;
        assert!(matches!(taken, Err(RepoError::Conflict(Constraint::Username))), "{taken:?}");
        drop(tx);
        assert_eq!(users::count(&mut test.store.read().await.unwrap()).await.unwrap(), 1);
        add_user(&test.store, "bob").await;
    }

    async fn users_change_and_are_counted(test: TestStore) {
        let mut ada = user("ada");
        ada.instance_role = InstanceRole::Owner;
        let mut tx = test.store.begin().await.unwrap();
        users::insert(&mut tx, &ada, &hash("one")).await.unwrap();
        assert_eq!(users::count_active_owners(&mut tx).await.unwrap(), 1);
        let later = NOW.plus(Duration::from_secs(1));
        assert!(users::update_password(&mut tx, ada.id, &hash("two"), later).await.unwrap());
        assert!(users::touch_login(&mut tx, ada.id, later).await.unwrap());
        assert!(users::update(&mut tx, &User { is_active: false, updated_at: later, ..ada.clone() }).await.unwrap());
        assert_eq!(users::count_active_owners(&mut tx).await.unwrap(), 0);
        assert!(!users::update(&mut tx, &User { id: UserId::generate(NOW), ..user("bob") }).await.unwrap());
        let (found, password) = users::find_by_username(&mut tx, &ada.username).await.unwrap().unwrap();
        let expected = users::User { is_active: false, updated_at: later, last_login_at: Some(later), ..ada };
        assert_eq!((found, password.as_phc()), (expected, "two"));
    }

    async fn users_are_listed_page_by_page(test: TestStore) {
        let mut all = Vec::new();
        for name in ["ada", "bob", "cyd"] {
            all.push(add_user(&test.store, name).await);
        }
        all.sort_by_key(|user| user.id);
        let mut conn = test.store.read().await.unwrap();
        let first = readable(users::list(&mut conn, 2, None).await.unwrap());
        assert_eq!(first, all[..2]);
        assert_eq!(readable(users::list(&mut conn, 2, Some(first[1].id)).await.unwrap()), all[2..]);
        assert_eq!(readable(users::list(&mut conn, 2, Some(all[2].id)).await.unwrap()), []);
    }

    async fn a_session_is_found_by_its_token_with_its_user(test: TestStore) {
        let ada = add_user(&test.store, "ada").await;
        let (stored, token) = session(ada.id, 1);
        let mut tx = test.store.begin().await.unwrap();
        sessions::insert(&mut tx, &stored, &token).await.unwrap();
        let found = sessions::find_by_token_hash(&mut tx, &token).await.unwrap();
        assert_eq!(found, Some((stored.clone(), ada.clone())));
        assert_eq!(sessions::find_by_token_hash(&mut tx, &TokenHash::new([2; 32])).await.unwrap(), None);

        let later = NOW.plus(Duration::from_secs(30));
        assert!(sessions::touch(&mut tx, stored.id, later, later).await.unwrap());
        let touched = Session { last_seen_at: later, expires_at: later, ..stored };
        assert_eq!(readable(sessions::list_of_user(&mut tx, ada.id, NOW, 9, None).await.unwrap()), [touched]);
    }

    async fn a_session_needs_a_user_and_a_token_of_its_own(test: TestStore) {
        let ada = add_user(&test.store, "ada").await;
        let mut tx = test.store.begin().await.unwrap();
        let (orphan, token) = session(UserId::generate(NOW), 1);
        let refused = sessions::insert(&mut tx, &orphan, &token).await;
        assert!(matches!(refused, Err(RepoError::MissingReference)), "{refused:?}");
        drop(tx);
        let mut tx = test.store.begin().await.unwrap();
        let (first, token) = session(ada.id, 1);
        sessions::insert(&mut tx, &first, &token).await.unwrap();
        let again = sessions::insert(&mut tx, &session(ada.id, 1).0, &token).await;
        assert!(matches!(again, Err(RepoError::Conflict(Constraint::Identity))), "{again:?}");
    }

    async fn sessions_end_one_by_one_all_but_one_and_by_time(test: TestStore) {
        let (ada, bob) = (add_user(&test.store, "ada").await, add_user(&test.store, "bob").await);
        let mut tx = test.store.begin().await.unwrap();
        let mut ids = Vec::new();
        for token in 0..4 {
            let (stored, token) = session(ada.id, token);
            sessions::insert(&mut tx, &stored, &token).await.unwrap();
            ids.push(stored.id);
        }
        assert!(!sessions::delete(&mut tx, bob.id, ids[0]).await.unwrap(), "nobody ends another's session");
        assert!(sessions::delete(&mut tx, ada.id, ids[0]).await.unwrap());
        assert_eq!(sessions::delete_of_user(&mut tx, ada.id, Some(ids[1])).await.unwrap(), 2);
        assert_eq!(sessions::list_of_user(&mut tx, ada.id, NOW, 9, None).await.unwrap().len(), 1);
        assert_eq!(sessions::delete_expired(&mut tx, NOW.plus(Duration::from_secs(59))).await.unwrap(), 0);
        assert_eq!(sessions::delete_expired(&mut tx, NOW.plus(Duration::from_secs(60))).await.unwrap(), 1);
        let (stored, token) = session(ada.id, 9);
        sessions::insert(&mut tx, &stored, &token).await.unwrap();
        assert_eq!(sessions::delete_of_user(&mut tx, ada.id, None).await.unwrap(), 1);
    }

    async fn set_up_tokens_stand_beside_each_other_until_they_are_stale(test: TestStore) {
        let mut tx = test.store.begin().await.unwrap();
        let (first, second) = (TokenHash::new([1; 32]), TokenHash::new([2; 32]));
        let (later, much_later) = (NOW.plus(Duration::from_secs(60)), NOW.plus(Duration::from_secs(120)));
        setup_tokens::insert(&mut tx, &first, NOW).await.unwrap();
        setup_tokens::insert(&mut tx, &second, later).await.unwrap();
        let mut standing = async |after| {
            let first = setup_tokens::stands(&mut tx, &first, after).await.unwrap();
            (first, setup_tokens::stands(&mut tx, &second, after).await.unwrap())
        };
        let before = NOW.minus(Duration::from_secs(1));
        assert_eq!([standing(before).await, standing(NOW).await, standing(later).await], [(true, true), (false, true), (false, false)]);
        assert!(setup_tokens::touch(&mut tx, &first, much_later).await.unwrap());
        assert!(setup_tokens::stands(&mut tx, &first, later).await.unwrap());
        setup_tokens::delete_until(&mut tx, later).await.unwrap();
        assert!(!setup_tokens::touch(&mut tx, &second, much_later).await.unwrap(), "it is gone");
        assert!(setup_tokens::stands(&mut tx, &first, before).await.unwrap());
        setup_tokens::clear(&mut tx).await.unwrap();
        assert!(!setup_tokens::stands(&mut tx, &first, before).await.unwrap());
    }

    async fn a_value_from_a_newer_version_is_corrupt_and_named(test: TestStore) {
        let ada = add_user(&test.store, "ada").await;
        test.tamper("UPDATE users SET username = 'Not A Name'").await;
        let found = users::find(&mut test.store.read().await.unwrap(), ada.id).await;
        assert!(matches!(&found, Err(RepoError::Corrupt { column, .. }) if column == "username"), "{found:?}");
    }
}

#[test]
fn roles_are_ordered_and_read_as_written() {
    assert!(InstanceRole::Member < InstanceRole::Admin && InstanceRole::Admin < InstanceRole::Owner);
    assert!(AppRole::Viewer < AppRole::Editor && AppRole::Editor < AppRole::AppAdmin);
    for role in [InstanceRole::Member, InstanceRole::Admin, InstanceRole::Owner] {
        assert_eq!(role.as_str().parse(), Ok(role));
    }
    for role in [AppRole::Viewer, AppRole::Editor, AppRole::AppAdmin] {
        assert_eq!(role.as_str().parse(), Ok(role));
    }
    assert!("Owner".parse::<InstanceRole>().is_err() && "owner".parse::<AppRole>().is_err());
}
