//! Certificates as the data plane keeps them: leases, limits, what goes with a claim, and what is sealed.

use std::sync::Arc;
use std::time::Duration;

use picloud_manager::certificate_store::Certificates;
use picloud_manager::repo::certificates::attempts;
use picloud_manager::repo::{certificates, domains};
use picloud_manager::secret::key_file::SecretKey;
use picloud_shared::certificate::{
    Admission, Attempt, AttemptLimits, AttemptOutcome, CertificateFacts, CertificateRecord, CertificateSource,
    CertificateState, CertificateStore, Challenge, ChallengeKind, InternalAuthority, Issued, Leased, OrderProgress,
    PrivateKey, SaveError, TxtRecord,
};
use picloud_shared::clock::ManualClock;
use picloud_shared::domain_pattern::DomainPattern;
use picloud_shared::id::{AppId, CertificateAttemptId, CertificateId, DomainId, LeaseId, NodeId};

use crate::rows::{NOW, add_app, domain};
use crate::test_store::{TestStore, on_both};

const LEASE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn open(test: &TestStore) -> Certificates {
    open_with(test, SecretKey::from_bytes([7; 32]))
}

fn open_with(test: &TestStore, key: SecretKey) -> Certificates {
    Certificates::new(test.store.clone(), Arc::new(ManualClock::new(NOW)), &key)
}

/// The same, as much later.
fn open_later(test: &TestStore, later: Duration) -> Certificates {
    let clock = Arc::new(ManualClock::new(NOW.plus(later)));
    Certificates::new(test.store.clone(), clock, &SecretKey::from_bytes([7; 32]))
}

/// The hosts of the dashboard.
fn kept() -> Vec<String> {
    ["a", "b", "pi"].map(|name| format!("{name}.example.net")).to_vec()
}

fn name(text: &str) -> DomainPattern {
    text.parse().unwrap()
}

async fn claim(test: &TestStore, app: AppId, pattern: &str) -> DomainId {
    let claimed = domain(app, pattern);
    let mut tx = test.store.begin().await.unwrap();
    domains::insert(&mut tx, &claimed).await.unwrap();
    tx.commit().await.unwrap();
    claimed.id
}

async fn give_up(test: &TestStore, id: DomainId) {
    let mut tx = test.store.begin().await.unwrap();
    domains::delete(&mut tx, id).await.unwrap();
    tx.commit().await.unwrap();
}

async fn manage(store: &Certificates, text: &str, app: Option<AppId>) {
    store.manage(&name(text), app, CertificateSource::Automatic, Some(NOW)).await.unwrap();
}

async fn due(store: &Certificates) -> Vec<CertificateId> {
    store.due(NOW, &kept(), 100).await.unwrap()
}

async fn lease(store: &Certificates, id: CertificateId) -> Leased {
    store.lease(id, LEASE).await.unwrap().expect("nobody works on it")
}

fn issued(names: &[&str], lasts: Duration) -> Issued {
    Issued {
        chain: "chain".to_owned(),
        key: PrivateKey::new("a private key".to_owned()),
        facts: CertificateFacts {
            names: names.iter().map(ToString::to_string).collect(),
            issuer: "an issuer".to_owned(),
            serial: "01".to_owned(),
            not_before: NOW,
            not_after: NOW.plus(lasts),
            renewal_id: None,
            authority: None,
        },
    }
}

/// Gives the one that is due a certificate.
async fn give(store: &Certificates, text: &str) -> CertificateId {
    for id in due(store).await {
        let mut leased = lease(store, id).await;
        if leased.record.name == Some(name(text)) {
            leased.record.state = CertificateState::Valid;
            leased.record.next_attempt_at = Some(NOW.plus(DAY));
            store.keep(leased.lease, &leased.record, &issued(&[text], DAY), None).await.unwrap();
            store.release(id, leased.lease).await.unwrap();
            return id;
        }
        store.release(id, leased.lease).await.unwrap();
    }
    panic!("{text} is not due");
}

/// An order under way.
fn order() -> OrderProgress {
    OrderProgress {
        attempt: CertificateAttemptId::generate(NOW),
        authority: "https://ca.test/dir".to_owned(),
        url: Some("https://ca.test/order/1".to_owned()),
        challenge: ChallengeKind::TlsAlpn01,
        key: PrivateKey::new("a private key".to_owned()),
        begun_at: NOW,
        records: vec![TxtRecord { name: "_acme-challenge.example.net".to_owned(), value: "proof".to_owned() }],
        rehearsal: false,
        finalized: false,
    }
}

fn attempt(of: &str, app: Option<AppId>) -> Attempt {
    Attempt {
        id: CertificateAttemptId::generate(NOW),
        certificate: CertificateId::generate(NOW),
        name: of.to_owned(),
        app,
        is_renewal: false,
        authority: "https://ca.test/dir".to_owned(),
        challenge: Some(ChallengeKind::Http01),
        outcome: AttemptOutcome::Running,
        validation_failed: false,
        error: None,
        started_at: NOW,
        ended_at: None,
    }
}

on_both! {
    async fn each_claim_is_managed_once_and_goes_with_its_claim(test: TestStore) {
        let (store, app) = (open(&test), add_app(&test.store, "shop").await.id);
        let claimed = claim(&test, app, "{tenant}.example.com").await;
        let found = store.unmanaged(10).await.unwrap();
        assert_eq!(found.iter().map(|one| one.name.shape_key()).collect::<Vec<_>>(), ["*.example.com"]);
        manage(&store, "*.example.com", Some(app)).await;
        manage(&store, "*.example.com", Some(app)).await;
        manage(&store, "pi.example.net", None).await;
        assert!(store.unmanaged(10).await.unwrap().is_empty());
        assert_eq!(due(&store).await.len(), 2);
        assert_eq!(store.retire_unclaimed(&kept()).await.unwrap().len(), 0);
        give_up(&test, claimed).await;
        assert_eq!(due(&store).await.len(), 1, "what nobody claims is never ordered");
        assert_eq!(store.retire_unclaimed(&kept()).await.unwrap().len(), 1);
    }

    async fn a_host_that_is_the_dashboards_no_longer_here_stays_while_it_may_be_elsewhere(test: TestStore) {
        let store = open(&test);
        manage(&store, "pi.example.net", None).await;
        assert!(store.due(NOW, &[], 100).await.unwrap().is_empty(), "this node does not order it");
        if !store.is_shared() {
            assert_eq!(store.retire_unclaimed(&[]).await.unwrap().len(), 1, "there is no other node");
            return;
        }
        assert_eq!(store.retire_unclaimed(&[]).await.unwrap().len(), 0);
        let id = give(&store, "pi.example.net").await;
        assert_eq!(open_later(&test, DAY - SECOND).retire_unclaimed(&[]).await.unwrap().len(), 0, "another node shows it");
        assert_eq!(open_later(&test, DAY + SECOND).retire_unclaimed(&[]).await.unwrap().len(), 1, "it has ended");
        assert!(store.served(id).await.unwrap().is_none());
        manage(&store, "pi.example.net", None).await;
        assert_eq!(open_later(&test, DAY * 7).retire_unclaimed(&[]).await.unwrap().len(), 0, "its turn may come yet");
        assert_eq!(open_later(&test, DAY * 9).retire_unclaimed(&[]).await.unwrap().len(), 1, "it came to nothing");
    }

    async fn a_wish_to_renew_is_not_written_over_by_who_asks_when_to(test: TestStore) {
        let store = open(&test);
        manage(&store, "pi.example.net", None).await;
        let id = give(&store, "pi.example.net").await;
        let asking = lease(&store, id).await;
        let mut tx = test.store.begin().await.unwrap();
        let wish = CertificateRecord { next_attempt_at: Some(NOW), ..asking.record.clone() };
        certificates::make_due(&mut tx, &wish).await.unwrap();
        tx.commit().await.unwrap();
        assert!(matches!(store.save(asking.lease, &asking.record, None).await, Err(SaveError::Lost(_))));
        assert_eq!(due(&store).await, [id]);
    }

    async fn a_claim_that_has_become_the_dashboards_host_is_renewed_without_the_claim(test: TestStore) {
        let (store, app) = (open(&test), add_app(&test.store, "shop").await.id);
        let claimed = claim(&test, app, "pi.example.net").await;
        manage(&store, "pi.example.net", Some(app)).await;
        give_up(&test, claimed).await;
        assert!(store.due(NOW, &[], 100).await.unwrap().is_empty());
        assert_eq!(due(&store).await.len(), 1);
        assert_eq!(store.retire_unclaimed(&kept()).await.unwrap().len(), 0);
    }

    async fn a_certificate_stays_while_another_claim_is_served_by_it_alone(test: TestStore) {
        let (store, app) = (open(&test), add_app(&test.store, "shop").await.id);
        let other = add_app(&test.store, "other").await.id;
        let host = claim(&test, app, "a.example.com").await;
        let wildcard = claim(&test, other, "*.example.com").await;
        manage(&store, "a.example.com", Some(app)).await;
        manage(&store, "*.example.com", Some(other)).await;
        let of_host = give(&store, "a.example.com").await;
        give_up(&test, host).await;
        assert_eq!(store.retire_unclaimed(&[]).await.unwrap().len(), 0, "the wildcard has none of its own");
        assert!(store.served(of_host).await.unwrap().is_some());
        let of_wildcard = give(&store, "*.example.com").await;
        assert_eq!(store.retire_unclaimed(&[]).await.unwrap().len(), 1, "now it has");
        assert!(store.served(of_host).await.unwrap().is_none());

        claim(&test, app, "b.example.com").await;
        manage(&store, "b.example.com", Some(app)).await;
        give_up(&test, wildcard).await;
        assert_eq!(store.retire_unclaimed(&[]).await.unwrap().len(), 0, "the host is served by the wildcard's");
        give(&store, "b.example.com").await;
        assert_eq!(store.retire_unclaimed(&[]).await.unwrap().len(), 1);
        assert!(store.served(of_wildcard).await.unwrap().is_none());
    }

    async fn one_at_a_time_works_on_a_certificate_and_only_the_holder_writes(test: TestStore) {
        let store = open(&test);
        manage(&store, "pi.example.net", None).await;
        let id = due(&store).await[0];
        let first = lease(&store, id).await;
        assert!(store.lease(id, LEASE).await.unwrap().is_none());
        assert!(due(&store).await.is_empty(), "it is being worked on");
        let stranger = LeaseId::generate(NOW);
        let lost = |result| matches!(result, Err(SaveError::Lost(_)));
        assert!(lost(store.prolong(id, stranger, LEASE).await));
        assert!(lost(store.keep(stranger, &first.record, &issued(&["x"], DAY), None).await));
        assert!(store.served(id).await.unwrap().is_none(), "nothing of it is kept");
        store.prolong(id, first.lease, Duration::ZERO).await.unwrap();
        // Its time is over as soon as the database's clock has moved on.
        let second = loop {
            if let Some(leased) = store.lease(id, LEASE).await.unwrap() {
                break leased;
            }
        };
        assert!(lost(store.save(first.lease, &first.record, None).await), "the first has lost it");
        store.release(id, first.lease).await.unwrap();
        assert!(store.lease(id, LEASE).await.unwrap().is_none(), "nor can it give away what it has lost");
        store.release(id, second.lease).await.unwrap();
        lease(&store, id).await;
    }

    async fn an_order_and_a_key_are_sealed_and_read_back(test: TestStore) {
        let store = open(&test);
        manage(&store, "pi.example.net", None).await;
        let id = due(&store).await[0];
        let mut leased = lease(&store, id).await;
        assert_eq!((leased.record.state, leased.order.is_none()), (CertificateState::Claimed, true));
        let order = order();
        leased.record.state = CertificateState::Ordering;
        leased.record.failures = 3;
        leased.record.last_error = Some("why".to_owned());
        let got = issued(&["pi.example.net"], DAY);
        store.keep(leased.lease, &leased.record, &got, None).await.unwrap();
        store.save(leased.lease, &leased.record, Some(&order)).await.unwrap();
        store.release(id, leased.lease).await.unwrap();
        let again = lease(&store, id).await;
        assert_eq!(again.order, Some(order));
        assert_eq!((again.record.failures, again.record.last_error.as_deref()), (3, Some("why")));
        assert_eq!(again.record.facts.as_ref(), Some(&got.facts));
        assert_eq!(store.served(id).await.unwrap().unwrap().issued, got);
        let shown = format!("{again:?} {got:?}");
        assert!(!shown.contains("a private key"), "{shown}");

        let elsewhere = open_with(&test, SecretKey::from_bytes([8; 32]));
        assert!(elsewhere.served(id).await.is_err(), "another key opens nothing");
    }

    async fn what_was_issued_is_kept_with_the_end_of_its_order_or_not_at_all(test: TestStore) {
        let store = open(&test);
        manage(&store, "pi.example.net", None).await;
        let id = due(&store).await[0];
        let mut leased = lease(&store, id).await;
        let begun = Attempt { certificate: id, ..attempt("pi.example.net", None) };
        let limits = AttemptLimits { failed_validations_an_hour: 1, new_orders_a_day: 1 };
        store.begin_attempt(&begun, &limits).await.unwrap();
        store.save(leased.lease, &leased.record, Some(&order())).await.unwrap();
        let challenge = Challenge {
            certificate: id,
            kind: ChallengeKind::Http01,
            name: "pi.example.net".to_owned(),
            token: "token".to_owned(),
            key_authorization: "token.thumb".to_owned(),
        };
        store.set_challenges(id, &[challenge]).await.unwrap();
        let (got, before) = (issued(&["pi.example.net"], DAY), store.revision().await.unwrap());
        let ended = Attempt { outcome: AttemptOutcome::Succeeded, ended_at: Some(NOW), ..begun };
        leased.record.state = CertificateState::Valid;

        test.tamper("ALTER TABLE certificate_attempts RENAME TO away").await;
        let failed = store.keep(leased.lease, &leased.record, &got, Some(&ended)).await;
        assert!(matches!(failed, Err(SaveError::Store(_))), "{failed:?}");
        test.tamper("ALTER TABLE away RENAME TO certificate_attempts").await;
        assert!(store.served(id).await.unwrap().is_none());
        assert_eq!((store.revision().await.unwrap(), store.challenges().await.unwrap().len()), (before, 1));

        store.keep(leased.lease, &leased.record, &got, Some(&ended)).await.unwrap();
        assert_eq!(store.served(id).await.unwrap().unwrap().issued, got);
        assert!(store.challenges().await.unwrap().is_empty());
        let mut history = attempts::list(&mut test.store.read().await.unwrap(), id, 9).await.unwrap();
        assert_eq!(history.pop().unwrap().unwrap(), ended);
        store.release(id, leased.lease).await.unwrap();
        assert_eq!(lease(&store, id).await.order, None);
    }

    async fn who_retires_a_certificate_is_given_its_order(test: TestStore) {
        let (store, app) = (open(&test), add_app(&test.store, "shop").await.id);
        let claimed = claim(&test, app, "a.example.com").await;
        manage(&store, "a.example.com", Some(app)).await;
        let id = due(&store).await[0];
        let leased = lease(&store, id).await;
        let order = order();
        store.save(leased.lease, &leased.record, Some(&order)).await.unwrap();
        store.release(id, leased.lease).await.unwrap();
        give_up(&test, claimed).await;
        assert_eq!(store.retire_unclaimed(&kept()).await.unwrap(), [Some(order)]);
    }

    async fn a_key_moved_to_another_row_does_not_open(test: TestStore) {
        let store = open(&test);
        manage(&store, "a.example.net", None).await;
        manage(&store, "b.example.net", None).await;
        let (a, b) = (give(&store, "a.example.net").await, give(&store, "b.example.net").await);
        test.tamper("UPDATE certificates SET key_sealed = (SELECT key_sealed FROM certificates ORDER BY id LIMIT 1)").await;
        let opened = [store.served(a).await.is_ok(), store.served(b).await.is_ok()];
        assert_eq!(opened.iter().filter(|opened| **opened).count(), 1, "each opens in its own place alone");
    }

    async fn limits_count_what_was_tried_whatever_became_of_the_claim(test: TestStore) {
        let (store, app) = (open(&test), add_app(&test.store, "shop").await.id);
        let limits = AttemptLimits { failed_validations_an_hour: 2, new_orders_a_day: 3 };
        let admit = async |attempt: &Attempt| store.begin_attempt(attempt, &limits).await.unwrap();
        for number in 0..3 {
            assert_eq!(admit(&attempt(&format!("{number}.example.com"), Some(app))).await, Admission::Admitted);
        }
        let fourth = attempt("3.example.com", Some(app));
        assert_eq!(admit(&fourth).await, Admission::TooManyNewOrders(NOW.plus(DAY)));
        assert_eq!(admit(&Attempt { is_renewal: true, ..fourth.clone() }).await, Admission::Admitted);
        let other = add_app(&test.store, "other").await.id;
        assert_eq!(admit(&attempt("4.example.com", Some(other))).await, Admission::Admitted, "others have their own");
        let tomorrow = Attempt { started_at: NOW.plus(DAY + LEASE), ..attempt("5.example.com", Some(app)) };
        assert_eq!(admit(&tomorrow).await, Admission::Admitted);
        for _ in 0..2 {
            let failing = attempt("bad.example.com", None);
            assert_eq!(admit(&failing).await, Admission::Admitted);
            let failed = Attempt { outcome: AttemptOutcome::Failed, validation_failed: true, ..failing };
            store.end_attempt(&failed).await.unwrap();
        }
        let until = NOW.plus(Duration::from_secs(3600));
        assert_eq!(admit(&attempt("bad.example.com", None)).await, Admission::TooManyFailedValidations(until));
        assert_eq!(admit(&attempt("good.example.com", None)).await, Admission::Admitted);
    }

    async fn of_a_certificates_attempts_one_at_most_is_under_way(test: TestStore) {
        let store = open(&test);
        let limits = AttemptLimits { failed_validations_an_hour: 1, new_orders_a_day: 9 };
        let admit = async |attempt: &Attempt| store.begin_attempt(attempt, &limits).await.unwrap();
        let outcomes = async |of: &Attempt| {
            let found = attempts::list(&mut test.store.read().await.unwrap(), of.certificate, 9).await.unwrap();
            let told = |one: Attempt| (one.outcome.as_str(), one.error, one.ended_at);
            found.into_iter().map(|row| told(row.unwrap())).collect::<Vec<_>>()
        };
        let (running, replaced) = (("running", None, None), Some("another attempt took its place".to_owned()));
        let (first, other) = (attempt("a.example.com", None), attempt("b.example.com", None));
        let at = |seconds: u32| {
            let at = NOW.plus(SECOND * seconds);
            Attempt { id: CertificateAttemptId::generate(at), started_at: at, ..first.clone() }
        };
        for begun in [&first, &other, &at(1)] {
            assert_eq!(admit(begun).await, Admission::Admitted);
        }
        let gone = ("failed", replaced.clone(), Some(NOW.plus(SECOND)));
        assert_eq!(outcomes(&first).await, [running.clone(), gone.clone()]);
        assert_eq!(outcomes(&other).await[0], running, "that of another certificate goes on");

        store.fail_running_attempts(first.certificate, "it broke down", NOW.plus(SECOND * 2)).await.unwrap();
        let broken = ("failed", Some("it broke down".to_owned()), Some(NOW.plus(SECOND * 2)));
        assert_eq!(outcomes(&first).await, [broken, gone]);

        // One that is not let begin leaves none under way either.
        store.end_attempt(&Attempt { outcome: AttemptOutcome::Failed, validation_failed: true, ..other.clone() }).await.unwrap();
        let under_way = Attempt { certificate: other.certificate, ..at(3) };
        let until = Admission::TooManyFailedValidations(NOW.plus(Duration::from_secs(3600)));
        assert_eq!(admit(&under_way).await, Admission::Admitted);
        let refused = Attempt { certificate: other.certificate, name: other.name.clone(), ..at(4) };
        assert_eq!(admit(&refused).await, until);
        assert_eq!(outcomes(&other).await[0], ("failed", replaced, Some(NOW.plus(SECOND * 4))));
        assert_eq!(outcomes(&other).await.len(), 2);
    }

    async fn renewals_come_first_and_then_the_dashboard(test: TestStore) {
        let (store, app) = (open(&test), add_app(&test.store, "shop").await.id);
        claim(&test, app, "old.example.com").await;
        manage(&store, "old.example.com", Some(app)).await;
        let renewal = give(&store, "old.example.com").await;
        claim(&test, app, "new.example.com").await;
        manage(&store, "new.example.com", Some(app)).await;
        manage(&store, "pi.example.net", None).await;
        let order = store.due(NOW.plus(DAY), &kept(), 10).await.unwrap();
        let first = lease(&store, order[1]).await;
        assert_eq!((order[0], first.record.name), (renewal, Some(name("pi.example.net"))));
        assert_eq!(store.next_due().await.unwrap(), Some(NOW));
    }

    async fn each_change_of_what_is_answered_raises_the_revision_that_nodes_follow(test: TestStore) {
        let store = open(&test);
        manage(&store, "pi.example.net", None).await;
        let id = due(&store).await[0];
        let challenge = Challenge {
            certificate: id,
            kind: ChallengeKind::Http01,
            name: "pi.example.net".to_owned(),
            token: "token".to_owned(),
            key_authorization: "token.thumb".to_owned(),
        };
        let before = store.revision().await.unwrap();
        let revision = store.set_challenges(id, std::slice::from_ref(&challenge)).await.unwrap();
        assert_eq!((revision, store.revision().await.unwrap()), (before + 1, before + 1));
        assert_eq!(store.challenges().await.unwrap(), [challenge]);
        let (here, there) = (NodeId::generate(NOW), NodeId::generate(NOW));
        store.acknowledge(there, before, NOW).await.unwrap();
        assert_eq!(store.nodes_behind(here, revision, NOW.minus(LEASE)).await.unwrap(), 1);
        assert_eq!(store.nodes_behind(here, revision, NOW.plus(LEASE)).await.unwrap(), 0, "one that has gone");
        store.acknowledge(there, revision, NOW).await.unwrap();
        assert_eq!(store.nodes_behind(here, revision, NOW.minus(LEASE)).await.unwrap(), 0);
        store.set_challenges(id, &[]).await.unwrap();
        assert!(store.challenges().await.unwrap().is_empty());
        give(&store, "pi.example.net").await;
        let served = store.served_revisions().await.unwrap();
        assert_eq!(served, [(id, store.revision().await.unwrap())]);
    }

    async fn of_two_nodes_that_are_first_one_is_heard(test: TestStore) {
        let store = open(&test);
        let directory = "https://ca.test/dir";
        assert_eq!(store.account(directory).await.unwrap(), None);
        assert_eq!(store.save_account(directory, "first", false).await.unwrap(), "first");
        assert_eq!(store.save_account(directory, "second", false).await.unwrap(), "first");
        assert_eq!(store.save_account(directory, "third", true).await.unwrap(), "third");
        assert_eq!(store.account(directory).await.unwrap().as_deref(), Some("third"));
        let authority = |root: &str, ends| InternalAuthority {
            root: root.to_owned(),
            root_key: PrivateKey::new("root key".to_owned()),
            intermediate: "intermediate".to_owned(),
            intermediate_key: PrivateKey::new("key".to_owned()),
            intermediate_not_after: NOW.plus(ends),
        };
        let kept = async |authority: &InternalAuthority, in_place_of| {
            store.save_internal_authority(authority, in_place_of).await.unwrap().root
        };
        assert_eq!(kept(&authority("first", DAY), None).await, "first");
        assert_eq!(kept(&authority("second", DAY), None).await, "first");
        assert_eq!(kept(&authority("third", DAY * 2), Some(NOW.plus(DAY))).await, "third");
        assert_eq!(kept(&authority("fourth", DAY * 3), Some(NOW.plus(DAY))).await, "third");
        assert_eq!(store.internal_authority().await.unwrap().unwrap().root_key.reveal(), "root key");
    }
}
